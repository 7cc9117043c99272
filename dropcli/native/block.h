/* The functions for one kind of element. Included once for each kind, with these macros:
 *
 *   ELEMENT        the type in the file
 *   WIDE           the type for arithmetic: float or double
 *   NAME(x)        x with the suffix of the kind
 *   WIDEN(e)       an element as a number
 *   NARROW(v)      the nearest element
 */

/* Statistics of each lane. 64 lanes fix the order of the sums and fill any vector unit. */
typedef struct {
    double sum[LANES], squares[LANES];
    WIDE low[LANES], high[LANES];
    uint32_t zeros[LANES];
} NAME(lanes);

static void NAME(start)(NAME(lanes) *s)
{
    for (int j = 0; j < LANES; j++) {
        s->sum[j] = s->squares[j] = 0;
        s->low[j] = (WIDE)INFINITY;
        s->high[j] = -(WIDE)INFINITY;
        s->zeros[j] = 0;
    }
}

/* Add `rows` rows to the first `width` lanes. Both are constants in full groups, so that the loops
 * are unrolled. A lane stays in a register for all rows. */
INLINE void NAME(add)(NAME(lanes) *restrict s, const WIDE *restrict x, int rows, int width)
{
    for (int j = 0; j < width; j++) {
        double sum = s->sum[j], squares = s->squares[j];
        for (int r = 0; r < rows; r++) {
            double v = x[r * LANES + j];
            sum += v;
            squares += v * v;
        }
        s->sum[j] = sum;
        s->squares[j] = squares;
    }
    for (int j = 0; j < width; j++) {
        WIDE low = s->low[j], high = s->high[j];
        uint32_t zeros = s->zeros[j];
        for (int r = 0; r < rows; r++) {
            WIDE v = x[r * LANES + j];
            low = v < low ? v : low;
            high = v > high ? v : high;
            zeros += v == 0;
        }
        s->low[j] = low;
        s->high[j] = high;
        s->zeros[j] = zeros;
    }
}

/* Add `n` numbers, at most GROUP. Only the last group of a block may be shorter. */
static void NAME(add_group)(NAME(lanes) *s, const WIDE *x, size_t n)
{
    if (n == GROUP) {
        NAME(add)(s, x, ROWS, LANES);
        return;
    }
    for (; n >= LANES; x += LANES, n -= LANES)
        NAME(add)(s, x, 1, LANES);
    NAME(add)(s, x, 1, (int)n);
}

/* Complete `out`. Returns whether the sums are finite, so that there is no NaN and no infinity, and
 * have kept enough digits. */
static int NAME(finish)(NAME(lanes) *s, size_t n, summary *out)
{
    out->zeros = 0;
    for (int j = 0; j < LANES; j++)
        out->zeros += s->zeros[j];
    for (int half = LANES / 2; half; half /= 2)
        for (int j = 0; j < half; j++) {
            s->sum[j] += s->sum[j + half];
            s->squares[j] += s->squares[j + half];
            s->low[j] = s->low[j + half] < s->low[j] ? s->low[j + half] : s->low[j];
            s->high[j] = s->high[j + half] > s->high[j] ? s->high[j + half] : s->high[j];
        }
    out->low = s->low[0];
    out->high = s->high[0];
    out->mean = s->sum[0] / (double)n + 0.0;
    out->squares = s->squares[0] - (double)n * out->mean * out->mean;
    return s->squares[0] < INFINITY && out->squares >= SOUND * s->squares[0];
}

INLINE const WIDE *NAME(load)(const ELEMENT *data, size_t n, WIDE *buffer)
{
    for (size_t i = 0; i < n; i++)
        buffer[i] = WIDEN(data[i]);
    return buffer;
}

/* Whether no element is NaN or infinite. */
static int NAME(finite)(const ELEMENT *data, size_t n)
{
    uint32_t not_finite = 0;
    for (size_t i = 0; i < n; i++) {
        WIDE v = WIDEN(data[i]);
        not_finite |= v - v != 0;
    }
    return !not_finite;
}

static int NAME(summarize)(const ELEMENT *data, size_t n, summary *out)
{
    NAME(lanes) s;
    WIDE buffer[GROUP];
    NAME(start)(&s);
    for (size_t i = 0; i < n; i += GROUP) {
        size_t count = n - i < GROUP ? n - i : GROUP;
        NAME(add_group)(&s, NAME(load)(data + i, count, buffer), count);
    }
    return NAME(finish)(&s, n, out);
}

static int NAME(drop)(block *b, ELEMENT *data, summary *before, summary *after)
{
    NAME(lanes) s;
    WIDE x[GROUP], scale = (WIDE)b->scale;
    uint32_t kept[GROUP];
    uint64_t all = 0;
    if (before ? !NAME(summarize)(data, b->count, before) : !NAME(finite)(data, b->count))
        return UNTOUCHED;
    NAME(start)(&s);
    for (size_t i = 0; i < b->count; i += GROUP) {
        size_t count = b->count - i < GROUP ? b->count - i : GROUP;
        all += decide(b, i, count, kept);
        for (size_t k = 0; k < count; k++) {
            ELEMENT e = NARROW(WIDEN(data[i + k]) * (kept[k] ? scale : (WIDE)0));
            data[i + k] = e;
            x[k] = WIDEN(e);
        }
        if (after)
            NAME(add_group)(&s, x, count);
    }
    b->kept = all;
    return after && !NAME(finish)(&s, b->count, after) ? UNSUMMED : DONE;
}

#undef ELEMENT
#undef WIDE
#undef NAME
#undef WIDEN
#undef NARROW
