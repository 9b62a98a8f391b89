/* The arithmetic of the operators, for each kind of processor.
 *
 * An activation in [-1, 1] becomes 127 times itself, rounded. Weights lie in blocks of OUTPUTS
 * outputs, and in these the inputs by INPUTS: [N / OUTPUTS, K / INPUTS, OUTPUTS, INPUTS], behind the
 * last output zeros. Of two neighbouring weights of an output those of one sign make at most 128
 * together, so that the sum of their products fits 16 bits (`asr.export.quantise`). */

#ifndef RILL_KERNELS_H
#define RILL_KERNELS_H

#include <stddef.h>
#include <stdint.h>

enum { OUTPUTS = 16, INPUTS = 4, LEVELS = 127 };
/* Of the frontend; `asr.nn.frontend` has them. */
enum { HOP = 160, WINDOW = 400, HALF = 199, FFT = 512, TAIL = 280 };
enum { MOST_MELS = 128 };
enum { ROWS = 16 }; /* that `linear` multiplies at once, so that their products stay in the cache */

/* A matrix for each group of units, and what belongs to its products. */
typedef struct {
    const int8_t *weight;     /* [groups, blocks, quads, OUTPUTS, INPUTS] */
    const int32_t *sums;      /* [groups, blocks, OUTPUTS], of the weights of each output */
    const float *scale;       /* [groups, outputs], for a GRU [groups] */
    const float *bias;        /* [groups, outputs] */
    size_t groups, blocks, quads;
    size_t inputs, outputs;   /* of each group */
} Weights;

/* Of layer norm, [groups, inputs] each; NULL where there is none. */
typedef struct {
    const float *scale, *bias;
} Norm;

/* Where there is room for some rows of one group. */
typedef struct {
    float *normed; /* [inputs] */
    uint8_t *x;    /* [rows, inputs], activations */
    int32_t *y;    /* [rows, blocks OUTPUTS], products */
    float *sizes;  /* [rows] */
    float *gates;  /* [2 inputs] */
} Room;

/* What makes features of samples. */
typedef struct {
    const float *window;           /* [HALF], the first half of what a frame is weighed with */
    const float *mels;             /* [bins, count], filters in the order of their frequencies */
    const float *mean, *deviation; /* [count], of the features */
    size_t bins, count;            /* bins < FFT / 2, count <= MOST_MELS */
} Filters;

typedef struct {
    const char *name;
    int (*there)(void); /* whether this processor can */

    /* Standardised log-mel features [frames, streams, count] of samples [streams, length], of which
     * each frame is WINDOW, HOP after the one before. */
    void (*log_mel)(const Filters *filters, const float *samples, size_t streams, size_t length,
                    size_t frames, float *out);

    /* y [rows, groups, outputs] = `W x + b` of x [rows, groups, inputs], whose groups are normed
     * before; room for ROWS. */
    void (*linear)(const Weights *w, const Norm *norm, const float *x, size_t rows,
                   const Room *room, float *y);

    /* The states [frames, streams, groups, H] of a GRU after `state` [streams, groups, H], from
     * a [frames, streams, groups, 3 H], the products of its inputs in the order r, z, n;
     * `asr.nn.cells` has the equations. Room for as many rows as streams. */
    void (*gru)(const Weights *w, const float *a, const float *state, size_t frames,
                size_t streams, const Room *room, float *states);
} Kernel;

/* To be called before any `log_mel`. */
void prepare_kernels(void);

extern const Kernel KERNELS[]; /* the best first; behind the last, one without a name */

#endif
