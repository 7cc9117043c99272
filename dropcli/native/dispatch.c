/* Choose the version of the kernel for the instruction set of this processor. */
#include "kernel.h"

typedef int drop(block *, void *, summary *, summary *);

#if defined(__x86_64__)
#include <cpuid.h>

drop drop_block_x86_64, drop_block_x86_64_v3, drop_block_x86_64_v4;

enum { AVX = 0x6, AVX512 = 0xE6 }; /* registers that the system saves */

/* Of x86-64-v3, compilers use AVX2, FMA and BMI2; of v4, the AVX-512 of servers since 2017. The
 * test uses cpuid, because some compilers have no library for __builtin_cpu_supports. */
static drop *choose(void)
{
    const unsigned wide = bit_AVX512F | bit_AVX512BW | bit_AVX512CD | bit_AVX512DQ | bit_AVX512VL;
    unsigned a, b, c, d, state, upper;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE) || !(c & bit_FMA))
        return drop_block_x86_64;
    __asm__("xgetbv" : "=a"(state), "=d"(upper) : "c"(0));
    if ((state & AVX) != AVX || !__get_cpuid_count(7, 0, &a, &b, &c, &d))
        return drop_block_x86_64;
    if (!(b & bit_AVX2) || !(b & bit_BMI2))
        return drop_block_x86_64;
    return (state & AVX512) == AVX512 && (b & wide) == wide ? drop_block_x86_64_v4
                                                            : drop_block_x86_64_v3;
}

int drop_block(block *b, void *data, summary *before, summary *after)
{
    static drop *chosen; /* a race is harmless: all threads choose the same */
    if (!chosen)
        chosen = choose();
    return chosen(b, data, before, after);
}
#else
drop drop_block_base;

int drop_block(block *b, void *data, summary *before, summary *after)
{
    return drop_block_base(b, data, before, after);
}
#endif
