/* Loops whose turns do not meet in memory. */
#if defined(__clang__)
#define NN_EACH _Pragma("clang loop vectorize(assume_safety)")
#elif defined(__GNUC__)
#define NN_EACH _Pragma("GCC ivdep")
#else
#define NN_EACH
#endif

typedef uint64_t NN_ALIAS nn_word;

#if defined(__AVX512BW__) || defined(__AVX2__)
#include <immintrin.h>
#endif

/* The place of the lowest bit of a word that is not 0. */
NN_INLINE int nn_lowest(nn_word word) { return __builtin_ctzll(word); }

/* 64 bytes of 0 or 1 -> a word */
NN_INLINE nn_word nn_pack64(const uint8_t *values)
{
#if defined(__AVX512BW__)
    const __m512i all = _mm512_loadu_si512(values);
    return _mm512_test_epi8_mask(all, all);
#elif defined(__AVX2__)
    const __m256i low = _mm256_loadu_si256((const __m256i *)(const void *)values);
    const __m256i high = _mm256_loadu_si256((const __m256i *)(const void *)(values + 32)), zero = _mm256_setzero_si256();
    const uint32_t first = (uint32_t)_mm256_movemask_epi8(_mm256_cmpgt_epi8(low, zero));
    const uint32_t second = (uint32_t)_mm256_movemask_epi8(_mm256_cmpgt_epi8(high, zero));
    return (nn_word)first | (nn_word)second << 32;
#else
    nn_word word = 0;
    for (int part = 0; part < 8; part++) {
        uint64_t eight = 0;
        for (int i = 0; i < 8; i++) eight |= (uint64_t)values[8 * part + i] << (8 * i);
        word |= (nn_word)((eight * UINT64_C(0x0102040810204080)) >> 56) << (8 * part);
    }
    return word;
#endif
}

/* 0 or 1, one a byte -> bits, a word at a time; `values` has room for whole words, the last is filled with zeros */
NN_INLINE void nn_pack(nn_word *restrict words, uint8_t *restrict values, int n)
{
    for (int i = n; i % 64 != 0; i++) values[i] = 0;
    for (int at = 0; at < n; at += 64) words[at / 64] = nn_pack64(values + at);
}

NN_INLINE void nn_unpack(uint8_t *restrict values, const nn_word *restrict words, int n)
{
#if defined(__AVX512BW__)
    for (int at = 0; at < n; at += 64) {
        uint8_t all[64];
        _mm512_storeu_si512(all, _mm512_maskz_set1_epi8(words[at / 64], 1));
        memcpy(values + at, all, (size_t)nn_smaller(n - at, 64));
    }
#else
    for (int i = 0; i < n; i++) values[i] = (uint8_t)(words[i / 64] >> (i % 64) & 1u);
#endif
}

NN_INLINE int32_t nn_bit(const nn_word *words, int place)
{
#if !defined(__clang__)
    __asm__ volatile(""); /* GCC 12 took minutes to look for vectors in a concatenation of bits */
#endif
    return (int32_t)(words[place / 64] >> (place % 64) & 1u);
}

NN_INLINE void nn_set_bit(nn_word *words, int place, int32_t value)
{
    words[place / 64] |= (nn_word)value << (place % 64);
}
