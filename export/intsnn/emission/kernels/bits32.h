#define NN_EACH /* vector registers are not asked for */

typedef uint32_t NN_ALIAS nn_word;

/* The place of the lowest bit of a word that is not 0. */
NN_INLINE int nn_lowest(nn_word word)
{
#if defined(__GNUC__)
    return __builtin_ctz(word);
#else
    int place = 0;
    while (!(word & 1u)) { word >>= 1; place++; }
    return place;
#endif
}

/* 0 or 1, one a byte -> bits, n a word at a time; the last word is filled with zeros */
NN_SHARED void nn_pack(nn_word *restrict words, const uint8_t *restrict values, int n)
{
    for (int at = 0; at < n; at += 32) {
        nn_word word = 0;
        const int some = nn_smaller(n - at, 32);
        for (int i = 0; i < some; i++) word |= (nn_word)values[at + i] << i;
        words[at / 32] = word;
    }
}

NN_SHARED void nn_unpack(uint8_t *restrict values, const nn_word *restrict words, int n)
{
    for (int i = 0; i < n; i++) values[i] = (uint8_t)(words[i / 32] >> (i % 32) & 1u);
}

NN_INLINE int32_t nn_bit(const nn_word *words, int place) { return (int32_t)(words[place / 32] >> (place % 32) & 1u); }

NN_INLINE void nn_set_bit(nn_word *words, int place, int32_t value)
{
    words[place / 32] |= (nn_word)value << (place % 32);
}
