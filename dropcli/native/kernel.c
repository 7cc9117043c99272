/* Dropout of one block of elements, in place, with the statistics before and after.
 *
 * Portable C11, compiled once for each level of instruction sets: LEVEL is its suffix, and
 * `dispatch.c` chooses one. All levels and the numpy code give the same bits: each operation is
 * rounded by itself (the build forbids contraction). Sums have 64 lanes, element i in lane
 * i mod 64; at the end the lanes are added in halves. numpy handles blocks with NaN or infinities,
 * and blocks whose sums of squares lose too many digits by cancellation.
 */
#include <math.h>
#include <string.h>

#include "kernel.h"

#define LANES 64
#define ROWS 8 /* of a group, so that its 512 numbers stay in the L1 cache */
#define GROUP (LANES * ROWS)
#define SOUND 1e-3 /* the part of a sum of squares that must remain, as in pipeline/stats.py */

#define INLINE static inline __attribute__((always_inline)) /* otherwise loops do not vectorize */
#define ANYWHERE __attribute__((aligned(1))) /* in files, elements lie at any address */
#define PASTE(a, b) a##b
#define JOIN(a, b) PASTE(a, b)

typedef double f64 ANYWHERE;
typedef float f32 ANYWHERE;
typedef uint16_t half ANYWHERE;

/* Set kept[i] to 1 for each element that is kept, else to 0; return how many are kept. */
static uint32_t decide(const block *b, size_t start, size_t count, uint32_t *kept)
{
    uint32_t all = 0;
    if (b->words) {
        const uint32_t *words = b->words + start, last = b->last;
        for (size_t i = 0; i < count; i++)
            all += kept[i] = words[i] > last;
    } else {
        const uint8_t *keep = b->keep + start;
        for (size_t i = 0; i < count; i++)
            all += kept[i] = keep[i];
    }
    return all;
}

INLINE float as_float(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

INLINE uint32_t bits_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/* A bfloat16 is the upper half of a float. Rounds to nearest even; finite numbers only. */
INLINE float widen_bf16(uint16_t e)
{
    return as_float((uint32_t)e << 16);
}

INLINE uint16_t narrow_bf16(float v)
{
    uint32_t bits = bits_of(v);
    return (uint16_t)((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

/* A product with 2**112 turns the exponent of a float16 into that of a float. It is exact, also for
 * subnormal numbers. */
INLINE float widen_f16(uint16_t e)
{
    uint32_t magnitude = (uint32_t)(e & 0x7FFF) << 13;
    float v = as_float(magnitude) * 0x1p112f;
    v = magnitude >= 0x0F800000 ? as_float(magnitude + 0x70000000) : v; /* NaN, infinity */
    return as_float(bits_of(v) | (uint32_t)(e & 0x8000) << 16);
}

/* Rounds to nearest even. Below 2**-14, adding 0.5 leaves the bits of a subnormal number at the end
 * of the fraction. Above, half of the last place is added, and one less if that place is even. */
INLINE uint16_t narrow_f16(float v)
{
    uint32_t bits = bits_of(v), sign = bits >> 16 & 0x8000;
    bits &= 0x7FFFFFFF;
    uint32_t small = bits_of(as_float(bits) + 0.5f) - 0x3F000000;
    uint32_t large = (bits - 0x38000000 + 0xFFF + (bits >> 13 & 1)) >> 13;
    large = bits >= 0x47800000 ? 0x7C00 : large; /* 2**16 or more is infinity */
    return (uint16_t)(sign | (bits < 0x38800000 ? small : large));
}

#define ELEMENT f64
#define WIDE double
#define NAME(x) x##_f64
#define WIDEN(e) (e)
#define NARROW(v) (v)
#include "block.h"

#define ELEMENT f32
#define WIDE float
#define NAME(x) x##_f32
#define WIDEN(e) (e)
#define NARROW(v) (v)
#include "block.h"

#define ELEMENT half
#define WIDE float
#define NAME(x) x##_f16
#define WIDEN(e) widen_f16(e)
#define NARROW(v) narrow_f16(v)
#include "block.h"

#define ELEMENT half
#define WIDE float
#define NAME(x) x##_bf16
#define WIDEN(e) widen_bf16(e)
#define NARROW(v) narrow_bf16(v)
#include "block.h"

int JOIN(drop_block_, LEVEL)(block *b, void *data, summary *before, summary *after)
{
    switch (b->kind) {
    case 0:
        return drop_f64(b, data, before, after);
    case 1:
        return drop_f32(b, data, before, after);
    case 2:
        return drop_f16(b, data, before, after);
    default:
        return drop_bf16(b, data, before, after);
    }
}
