#include <stddef.h>
#include <stdint.h>
#if __STDC_HOSTED__
#include <string.h>
#else /* every program has these two: compilers call them */
void *memcpy(void *restrict to, const void *restrict from, size_t size);
void *memset(void *place, int value, size_t size);
#endif

/* Plain C11. Compilers that know GCC's attributes are told more; nothing depends on it. */
#if defined(__GNUC__)
#define NN_INLINE static inline __attribute__((always_inline, unused))
#define NN_SHARED static __attribute__((noinline, unused))
#if defined(__clang__)
#define NN_ALONE static __attribute__((noinline))
#else /* GCC 12 took a stage whose stores it had vectorized for one without effect, and left out the call */
#define NN_ALONE static __attribute__((noipa))
#endif
#define NN_ALIAS __attribute__((may_alias))
#else
#define NN_INLINE static inline
#define NN_SHARED static
#define NN_ALONE static
#define NN_ALIAS
#endif

/* Zeros; a function of its own, since GCC takes a number of bytes that equals one of elements for a mistake. */
NN_INLINE void nn_clear(void *place, size_t size)
{
    memset(place, 0, size);
}

typedef int8_t NN_ALIAS nn_int8;
typedef uint8_t NN_ALIAS nn_uint8;
typedef int16_t NN_ALIAS nn_int16;
typedef uint16_t NN_ALIAS nn_uint16;
typedef int32_t NN_ALIAS nn_int32;
typedef uint32_t NN_ALIAS nn_uint32;

_Static_assert((-1 >> 1) == -1, "a shift to the right of a negative number must round down");

NN_INLINE int32_t nn_smaller(int32_t a, int32_t b) { return a < b ? a : b; }
NN_INLINE int32_t nn_larger(int32_t a, int32_t b) { return a > b ? a : b; }

/* a / level rounded to the nearest, a tie to the even one; a >= 0, level >= 1 */
NN_INLINE int32_t nn_half_even(int32_t a, int32_t level)
{
    const int32_t quotient = a / level, rest = a - quotient * level;
    return quotient + (rest > level - rest || (rest == level - rest && quotient % 2 != 0));
}

/* A piece of a row to the places that it has in row-major order */
#define NN_COPIED(name, to_type, from_type)                                                                      \
    NN_SHARED void nn_trace_##name(to_type *to, const from_type *from, int n, int stride)                        \
    {                                                                                                            \
        for (int i = 0; i < n; i++) to[(size_t)i * (size_t)stride] = from[i];                                    \
    }
NN_COPIED(uint8, uint8_t, uint8_t)
NN_COPIED(int8, int32_t, nn_int8)
NN_COPIED(int16, int32_t, nn_int16)
