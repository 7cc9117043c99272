/* Runs the kernel on blocks from standard input, to compare processors, one of them emulated.
 *
 * In: a `request`, its words and its elements. Out: what the kernel returned, how many elements are
 * kept, the elements, and the summaries that are complete. */
#include <stdio.h>
#include <stdlib.h>

#include "kernel.h"

int drop_block(block *b, void *data, summary *before, summary *after);

typedef struct {
    uint64_t count, itemsize;
    double scale;
    uint32_t last, kind;
} request;

int main(void)
{
    request r;
    while (fread(&r, sizeof r, 1, stdin) == 1) {
        uint32_t *words = malloc(4 * r.count + 1);
        char *data = malloc(r.itemsize * r.count + 1);
        block b = {words, NULL, 0, r.count, r.scale, r.last, r.kind};
        summary before = {0}, after = {0};
        if (fread(words, 4, r.count, stdin) != r.count
            || fread(data, r.itemsize, r.count, stdin) != r.count)
            return 1;
        uint64_t code = (uint64_t)drop_block(&b, data, &before, &after);
        fwrite(&code, 8, 1, stdout);
        fwrite(&b.kept, 8, 1, stdout);
        fwrite(data, r.itemsize, r.count, stdout);
        if (code != UNTOUCHED)
            fwrite(&before, sizeof before, 1, stdout);
        if (code == DONE)
            fwrite(&after, sizeof after, 1, stdout);
        free(words);
        free(data);
    }
    return 0;
}
