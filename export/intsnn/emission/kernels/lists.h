/* Lists of what is not 0, before a synapse reads it. A map is `lines` lines of `width` places of `channels` values; an
   entry of a line is place * (channels + 1) + channel. start[p] is where place p of the map begins, start[last] the
   end. The entries of a place are filled up to a multiple of `pad`, a power of two, with channel `channels`, whose
   weights are 0: then rows are added `pad` at a time, and no loop is left for the rest. A list has room for NN_SLACK
   entries more than it can hold. */
#define NN_SLACK 64
#define NN_LIST_PAD(entry, list, zero, pad)                                                                      \
    {                                                                                                            \
        for (int fill = 0; fill < (pad); fill++) (entry)[fill] = (nn_entry)(zero);                               \
        entry = (list) + (((entry) - (list) + (pad) - 1) & -(ptrdiff_t)(pad));                                   \
    }

#if defined(__AVX512VBMI2__) && defined(__AVX512BW__)
#define NN_LIST_WORD(entry, word, base)                                                                          \
    {                                                                                                            \
        const __m512i low = _mm512_add_epi16(nn_ramp(), _mm512_set1_epi16((short)(base)));                       \
        const __m512i high = _mm512_add_epi16(low, _mm512_set1_epi16(32));                                       \
        const __mmask32 first = (__mmask32)(word), second = (__mmask32)((word) >> 32);                           \
        _mm512_storeu_si512(entry, _mm512_maskz_compress_epi16(first, low));                                     \
        entry += __builtin_popcount(first);                                                                      \
        _mm512_storeu_si512(entry, _mm512_maskz_compress_epi16(second, high));                                   \
        entry += __builtin_popcount(second);                                                                     \
    }
NN_INLINE __m512i nn_ramp(void)
{
    static const uint16_t places[32] = {0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15,
                                        16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31};
    return _mm512_loadu_si512(places);
}
#else
#define NN_LIST_WORD(entry, word, base) NN_LIST_BITS(entry, word, base)
#endif
#define NN_LIST_BITS(entry, word, base)                                                                          \
    {                                                                                                            \
        nn_word rest = word;                                                                                     \
        while (rest) { *entry++ = (nn_entry)((base) + nn_lowest(rest)); rest &= rest - 1; }                      \
    }

#define NN_LIST_BITMAP(bits_of, NN_LIST)                                                                         \
    NN_INLINE void nn_list_bits##bits_of(const nn_word *bits, int lines, int width, int channels, int pad,       \
                                         nn_uint##bits_of *list, nn_uint32 *start)                               \
    {                                                                                                            \
        typedef nn_uint##bits_of nn_entry;                                                                       \
        const int words = (channels + 63) / 64, stride = channels + 1;                                           \
        nn_uint##bits_of *entry = list;                                                                          \
        for (int line = 0; line < lines; line++)                                                                 \
            for (int place = 0; place < width; place++) {                                                        \
                *start++ = (uint32_t)(entry - list);                                                             \
                for (int k = 0; k < words; k++) {                                                                \
                    const nn_word word = *bits++;                                                                \
                    if (word) NN_LIST(entry, word, place * stride + 64 * k)                                      \
                }                                                                                                \
                NN_LIST_PAD(entry, list, place * stride + channels, pad)                                         \
            }                                                                                                    \
        *start = (uint32_t)(entry - list);                                                                       \
    }
NN_LIST_BITMAP(16, NN_LIST_WORD)
NN_LIST_BITMAP(32, NN_LIST_BITS)

/* 64 bytes -> the bits of those that are larger than `least` */
NN_INLINE nn_word nn_above64(const nn_uint8 *values, int least)
{
#if defined(__AVX512BW__)
    return _mm512_cmpgt_epu8_mask(_mm512_loadu_si512(values), _mm512_set1_epi8((char)least));
#else
    uint8_t ones[64];
    for (int i = 0; i < 64; i++) ones[i] = values[i] > least;
    return nn_pack64(ones);
#endif
}

#define NN_LIST_COUNTS(bits, NN_LIST)                                                                            \
    NN_INLINE void nn_list_counts##bits(const nn_uint8 *values, int lines, int width, int channels, int pad,     \
                                        int most, nn_uint##bits *list, nn_uint32 *start)                         \
    {                                                                                                            \
        typedef nn_uint##bits nn_entry;                                                                          \
        const int stride = channels + 1;                                                                         \
        nn_uint##bits *entry = list;                                                                             \
        for (int line = 0; line < lines; line++)                                                                 \
            for (int place = 0; place < width; place++, values += channels) {                                    \
                *start++ = (uint32_t)(entry - list);                                                             \
                for (int at = 0; at < channels; at += 64) {                                                      \
                    nn_uint8 some[64] = {0};                                                                     \
                    memcpy(some, values + at, (size_t)nn_smaller(channels - at, 64));                            \
                    for (int least = 0; least < most; least++) {                                                 \
                        const nn_word word = nn_above64(some, least);                                            \
                        if (!word) break;                                                                        \
                        NN_LIST(entry, word, place * stride + at)                                                \
                    }                                                                                            \
                }                                                                                                \
                NN_LIST_PAD(entry, list, place * stride + channels, pad)                                         \
            }                                                                                                    \
        *start = (uint32_t)(entry - list);                                                                       \
    }
NN_LIST_COUNTS(16, NN_LIST_WORD)
NN_LIST_COUNTS(32, NN_LIST_BITS)

#define NN_LIST_VALUES(element, bits)                                                                            \
    NN_INLINE void nn_list_##element##_##bits(const nn_##element *values, int lines, int width, int channels,    \
                                              int pad, nn_uint##bits *list, nn_##element *found,                 \
                                              nn_uint32 *start)                                                  \
    {                                                                                                            \
        uint32_t entries = 0;                                                                                    \
        for (int line = 0; line < lines; line++)                                                                 \
            for (int place = 0; place < width; place++) {                                                        \
                *start++ = entries;                                                                              \
                for (int c = 0; c < channels; c++, values++) {                                                   \
                    list[entries] = (uint##bits##_t)(place * (channels + 1) + c);                                \
                    found[entries] = *values;                                                                    \
                    entries += *values != 0;                                                                     \
                }                                                                                                \
                for (; entries % (uint32_t)pad != 0; entries++) {                                                \
                    list[entries] = (uint##bits##_t)(place * (channels + 1) + channels);                         \
                    found[entries] = 0;                                                                          \
                }                                                                                                \
            }                                                                                                    \
        *start = entries;                                                                                        \
    }
NN_LIST_VALUES(uint8, 16)
NN_LIST_VALUES(int8, 16)
NN_LIST_VALUES(int16, 16)
NN_LIST_VALUES(int32, 16)
NN_LIST_VALUES(uint8, 32)
NN_LIST_VALUES(int8, 32)
NN_LIST_VALUES(int16, 32)
NN_LIST_VALUES(int32, 32)

/* A piece of a list behind others, each entry times `scale` from entry `base` on. What follows the piece in both lists,
   NN_SLACK entries at the most, is read and overwritten: a fixed number of entries at a time is straight code. */
#define NN_MERGE(bits)                                                                                           \
    NN_INLINE void nn_merge##bits(nn_uint16 *restrict to, const nn_uint##bits *restrict list, int count,         \
                                  int scale, int base)                                                           \
    {                                                                                                            \
        for (int at = 0; at < count; at += NN_SLACK)                                                             \
            for (int i = at; i < at + NN_SLACK; i++)                                                             \
                to[i] = (uint16_t)(((uint32_t)list[i] + (uint32_t)base) * (uint32_t)scale);                      \
    }
NN_MERGE(16)
NN_MERGE(32)

/* Bytes of a vector register that the processor works on at once. */
#if defined(__AVX512BW__)
#define NN_BYTES 64
#elif defined(__AVX2__)
#define NN_BYTES 32
#else
#define NN_BYTES 16
#endif
#define NN_PRAGMA(text) _Pragma(#text)
#if defined(__clang__)
#define NN_UNROLL(count) NN_PRAGMA(clang loop unroll_count(count))
#else
#define NN_UNROLL(count) NN_PRAGMA(GCC unroll count)
#endif

#if defined(_WIN32)
#define NN_VISIBLE __declspec(dllexport)
#else
#define NN_VISIBLE __attribute__((visibility("default")))
#endif

#if defined(__AVX512VNNI__) && defined(__AVX512BW__)
#define NN_DENSE
#endif

/* Threads that wait for each other: the last one to arrive ends the turn. */
#if defined(_WIN32)
#define NN_YIELD()
#else
#include <sched.h>
#define NN_YIELD() (void)sched_yield()
#endif
NN_SHARED void nn_wait(int32_t *arrived, int32_t *turn, int parts)
{
    const int32_t now = __atomic_load_n(turn, __ATOMIC_ACQUIRE);
    if (__atomic_add_fetch(arrived, 1, __ATOMIC_ACQ_REL) == parts) {
        __atomic_store_n(arrived, 0, __ATOMIC_RELAXED);
        __atomic_store_n(turn, now + 1, __ATOMIC_RELEASE);
        return;
    }
    for (int looks = 0; __atomic_load_n(turn, __ATOMIC_ACQUIRE) == now; looks++)
        if (looks > 2000) NN_YIELD();
}
#define NN_WAIT(net, parts) do { if ((parts) > 1) nn_wait(&(net)->arrived, &(net)->turn, parts); } while (0)
