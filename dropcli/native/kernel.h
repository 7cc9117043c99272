/* Types that Python and all versions of the kernel share. */
#include <stddef.h>
#include <stdint.h>

typedef struct {
    double mean, squares, low, high; /* squares: the sum of squared deviations from the mean */
    uint64_t zeros;
} summary;

typedef struct {
    const uint32_t *words; /* element i is dropped if words[i] <= last; or NULL: see keep */
    const uint8_t *keep;   /* element i is kept if keep[i] is 1, else 0 */
    uint64_t kept;         /* set by the kernel: the number of kept elements */
    size_t count;
    double scale;
    uint32_t last;
    uint32_t kind; /* 0 F64, 1 F32, 2 F16, 3 BF16 */
} block;

/* UNTOUCHED: the block is unchanged. UNSUMMED: it is dropped, but `after` is not valid. */
enum { DONE, UNTOUCHED, UNSUMMED };
