/* Bits of up to 64 samples in a word -> counts: what planes.py and occupancy.py do, for long measurements.

   A tensor of one step is words [C][X]: channels, then pixels; bit n belongs to sample n. Which pixels an output reads
   at kernel position k stands in runs of five numbers: first output, first pixel, length, step of both. Python makes
   them from the layer, so that nothing here knows a stride, a padding or a number of axes. */
#include <stdint.h>
#include <string.h>

#define EXPORTED __attribute__((visibility("default")))
#define STRIP 512 /* values packed at a time: what the first cache holds */

/* The layer: G groups of R channels, X pixels, P outputs, K kernel positions; runs and how they are cut by position. */
struct layer {
    int64_t groups, channels, pixels, outputs, kernel;
    const int64_t *uses;   /* [X]: windows that read a pixel */
    const int32_t *runs;   /* [.][5] */
    const int32_t *starts; /* [K + 1] */
};

/* One way of cutting rows into blocks (occupancy.py, `Cut`). base: an earlier cut whose blocks it joins, or -1. */
struct cut {
    int64_t unrolled, rows, groups, base;
    int64_t place; /* of its blocks in the scratch memory */
};

EXPORTED void pack(const uint8_t *x, int64_t samples, int64_t size, int64_t bit, uint64_t *words)
{
    const uint8_t mask = (uint8_t)(1u << bit);
    uint8_t bytes[8][STRIP];
    for (int64_t start = 0; start < size; start += STRIP) {
        const int64_t length = size - start < STRIP ? size - start : STRIP;
        memset(bytes, 0, sizeof bytes);
        for (int64_t n = samples; n-- > 0;) { /* a byte moves up for each sample below: byte operations alone */
            const uint8_t *from = x + n * size + start;
            uint8_t *to = bytes[n >> 3];
            for (int64_t i = 0; i < length; i++)
                to[i] = (uint8_t)(2 * to[i] + ((from[i] & mask) != 0));
        }
        for (int64_t i = 0; i < length; i++) {
            uint64_t word = 0;
            for (int j = 0; j < 8; j++)
                word |= (uint64_t)bytes[j][i] << (8 * j);
            words[start + i] = word;
        }
    }
}

static int64_t ones(const uint64_t *words, int64_t size)
{
    int64_t sum = 0;
    for (int64_t i = 0; i < size; i++)
        sum += __builtin_popcountll(words[i]);
    return sum;
}

static int64_t weighted_ones(const uint64_t *words, const int64_t *weights, int64_t size)
{
    int64_t sum = 0;
    for (int64_t i = 0; i < size; i++)
        sum += __builtin_popcountll(words[i]) * weights[i];
    return sum;
}

static void join(uint64_t *to, const uint64_t *from, int64_t size)
{
    for (int64_t i = 0; i < size; i++)
        to[i] |= from[i];
}

/* to[output] |= map[pixel] of one kernel position. */
static void join_window(uint64_t *to, const uint64_t *map, const struct layer *layer, int64_t k)
{
    for (int32_t run = layer->starts[k]; run < layer->starts[k + 1]; run++) {
        const int32_t *r = layer->runs + 5 * run;
        if (r[3] == 1 && r[4] == 1)
            join(to + r[0], map + r[1], r[2]);
        else
            for (int32_t i = 0; i < r[2]; i++)
                to[r[0] + i * r[3]] |= map[r[1] + i * r[4]];
    }
}

static int64_t divided_up(int64_t a, int64_t b) { return (a + b - 1) / b; }
static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

/* [G][R][size] -> blocks of `rows` rows of `together` groups: [packs][blocks][size]. */
static void fold(const uint64_t *from, int64_t groups, int64_t per_group, int64_t size, int64_t rows, int64_t together,
                 uint64_t *to)
{
    memset(to, 0, sizeof *to * (size_t)(divided_up(groups, together) * divided_up(per_group, rows) * size));
    for (int64_t first = 0; first < groups; first += together)
        for (int64_t start = 0; start < per_group; start += rows, to += size)
            for (int64_t group = first; group < smaller(first + together, groups); group++)
                for (int64_t row = start; row < smaller(start + rows, per_group); row++)
                    join(to, from + (group * per_group + row) * size, size);
}

/* The same of the unrolled rows c*K + k of each output. */
static void fold_windows(const uint64_t *words, const struct layer *layer, int64_t rows, int64_t together, uint64_t *to)
{
    const int64_t per_group = layer->channels * layer->kernel;
    const int64_t blocks = divided_up(layer->groups, together) * divided_up(per_group, rows);
    memset(to, 0, sizeof *to * (size_t)(blocks * layer->outputs));
    for (int64_t first = 0; first < layer->groups; first += together)
        for (int64_t start = 0; start < per_group; start += rows, to += layer->outputs)
            for (int64_t group = first; group < smaller(first + together, layer->groups); group++)
                for (int64_t row = start; row < smaller(start + rows, per_group); row++) {
                    const int64_t channel = group * layer->channels + row / layer->kernel;
                    join_window(to, words + channel * layer->pixels, layer, row % layer->kernel);
                }
}

/* Arrays, PEs and outputs of one cut. seen, any: room for the outputs. */
static void count_cut(const struct layer *layer, const struct cut *cut, const uint64_t *blocks, uint64_t *seen,
                      uint64_t *any, int64_t *counts)
{
    const int64_t per_group = layer->channels * (cut->unrolled ? layer->kernel : 1);
    const int64_t size = cut->unrolled ? layer->outputs : layer->pixels;
    for (int64_t first = 0; first < layer->groups; first += cut->groups) {
        const int64_t members = smaller(cut->groups, layer->groups - first);
        memset(any, 0, sizeof *any * (size_t)layer->outputs);
        for (int64_t start = 0; start < per_group; start += cut->rows, blocks += size) {
            if (cut->unrolled) {
                const int64_t active = members * ones(blocks, size);
                counts[0] += active;
                counts[1] += active;
                join(any, blocks, size);
                continue;
            }
            counts[0] += members * weighted_ones(blocks, layer->uses, size);
            memset(seen, 0, sizeof *seen * (size_t)layer->outputs);
            for (int64_t k = 0; k < layer->kernel; k++)
                join_window(seen, blocks, layer, k);
            counts[1] += members * ones(seen, layer->outputs);
            join(any, seen, layer->outputs);
        }
        counts[2] += members * ones(any, layer->outputs);
    }
}

/* One plane of one step. counts: ones, ones times uses, then arrays, PEs and outputs of each cut. */
EXPORTED void count(const uint64_t *words, const struct layer *layer, const struct cut *cuts, int64_t number,
                    uint64_t *scratch, int64_t *counts)
{
    uint64_t *seen = scratch, *any = scratch + layer->outputs;
    memset(counts, 0, sizeof *counts * (size_t)(2 + 3 * number));
    for (int64_t channel = 0; channel < layer->groups * layer->channels; channel++) {
        counts[0] += ones(words + channel * layer->pixels, layer->pixels);
        counts[1] += weighted_ones(words + channel * layer->pixels, layer->uses, layer->pixels);
    }
    for (int64_t i = 0; i < number; i++) {
        const struct cut *cut = cuts + i;
        uint64_t *blocks = scratch + cut->place;
        const int64_t size = cut->unrolled ? layer->outputs : layer->pixels;
        if (cut->base >= 0) {
            const struct cut *base = cuts + cut->base;
            const int64_t rows = layer->channels * (cut->unrolled ? layer->kernel : 1);
            fold(scratch + base->place, divided_up(layer->groups, base->groups), divided_up(rows, base->rows), size,
                 cut->rows / base->rows, 1, blocks);
        } else if (cut->unrolled) {
            fold_windows(words, layer, cut->rows, cut->groups, blocks);
        } else {
            fold(words, layer->groups, layer->channels, size, cut->rows, cut->groups, blocks);
        }
        count_cut(layer, cut, blocks, seen, any, counts + 2 + 3 * i);
    }
}
