/* The best level that this processor has. */
#include "kernel.h"

typedef int drop(block *, void *, summary *, summary *);

#if defined(__x86_64__)
#include <cpuid.h>

drop drop_block_x86_64, drop_block_x86_64_v3;

/* AVX2 and BMI2, and a system that saves the wide registers: what compilers use of x86-64-v3.
 * Asked by hand, since not every compiler's library answers __builtin_cpu_supports. */
static int has_v3(void)
{
    unsigned a, b, c, d, state, upper;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE) || !(c & bit_FMA))
        return 0;
    __asm__("xgetbv" : "=a"(state), "=d"(upper) : "c"(0));
    if ((state & 6) != 6 || !__get_cpuid_count(7, 0, &a, &b, &c, &d))
        return 0;
    return (b & bit_AVX2) && (b & bit_BMI2);
}

int drop_block(block *b, void *data, summary *before, summary *after)
{
    static int known; /* 0 unknown, 1 no, 2 yes: threads that ask at once find the same */
    if (!known)
        known = 1 + has_v3();
    return (known == 2 ? drop_block_x86_64_v3 : drop_block_x86_64)(b, data, before, after);
}
#else
drop drop_block_base;

int drop_block(block *b, void *data, summary *before, summary *after)
{
    return drop_block_base(b, data, before, after);
}
#endif
