/* What _passing.c and _trellis.c share: how tokens are passed, and how arrays come from Python. */

#ifndef RILL_PASSING_H
#define RILL_PASSING_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { BLANK = 0, NOWHERE = -1, TOKEN_BITS = 6, TOKEN = (1 << TOKEN_BITS) - 1, END = TOKEN };
enum { NEVER = INT16_MAX, ARC_BYTES = 6, MOST_ARCS = 1 << 24 };
enum { MOST_WAYS = 1 << 20, COST_RANKS = (1 << 18) - 1 };
static const float STEP = 1.0f / 32;

typedef enum { FINE, NO_MEMORY, DAMAGED, ENDLESS, DEAD } Status;

/* An array of arcs, see `PACKED` in asr/decoding/graph.py; a state is the place of its first. */
typedef struct {
    const uint8_t *arcs;
    size_t count;
} Graph;

typedef struct {
    uint32_t key; /* the state that it leads to, then the token that it takes */
    float cost;
    bool last; /* of its state */
} Arc;

typedef struct {
    uint32_t key; /* state of the graph, then last token */
    float blank, phone;
    int32_t after_blank, after_phone;
    int32_t way; /* the Way by which the last token was reached in this frame, or NOWHERE */
} Hypothesis;

typedef struct {
    uint32_t key;
    float cost;
    int32_t before; /* step, or the way that this one follows */
    uint32_t arc;
    int32_t place; /* its step if it is recorded, or NOWHERE */
} Way;

typedef struct {
    int32_t before, arc, frame;
} Step;

/* An array that grows. */
#define ARRAY(type)         \
    struct {                \
        type *at;           \
        size_t count, room; \
    }

typedef struct {
    ARRAY(Hypothesis) alive;  /* in the order of their keys */
    ARRAY(Hypothesis) stay;   /* the same a frame later, if they stay where they are */
    ARRAY(Hypothesis) merged; /* the cheapest way to each key */
    ARRAY(Way) ways;
    ARRAY(uint64_t) order; /* key and place of each way, by key */
    ARRAY(uint64_t) spare;
    ARRAY(uint32_t) costs;
    ARRAY(Step) steps; /* that are new in this call */
    size_t first_ways;  /* so many ways take a phone; what follows them comes behind */
} Work;

#pragma GCC visibility push(hidden) /* some of these names are the C library's too */

/* Makes room for `needed` items; false if there is none. */
bool grow(void *at, size_t *room, size_t needed, size_t size);
#define ROOM(array, needed) grow(&(array).at, &(array).room, (needed), sizeof *(array).at)

static inline float lesser(float a, float b) { return b < a ? b : a; }
static inline float cost_of(const Hypothesis *h) { return lesser(h->phone, h->blank); }

static inline Arc arc_at(const Graph *graph, size_t place)
{
    uint32_t key;
    int16_t steps;
    memcpy(&key, graph->arcs + place * ARC_BYTES, sizeof key);
    memcpy(&steps, graph->arcs + place * ARC_BYTES + sizeof key, sizeof steps);
    return (Arc){key & ((MOST_ARCS << TOKEN_BITS) - 1), steps * STEP, key >> 31};
}

/* What it costs to end in a state. */
static inline float final_cost(const Graph *graph, uint32_t state, float cap)
{
    Arc arc = arc_at(graph, state);
    bool ends = (arc.key & TOKEN) == END && arc.cost < NEVER * STEP;
    return lesser(cap, ends ? arc.cost : INFINITY);
}

/* Where the hypotheses can go in a frame whose tokens have `costs`. */
Status advance(Work *work, const Graph *graph, const float *costs, uint32_t tokens, float beam);

/* Keeps the cheapest way to each key, of those within the beam, and at most about `most`. */
Status recombine(Work *work, size_t states, int32_t used, int32_t frame, double beam, size_t most);

void free_work(Work *work);

/* What the graph, the costs of the frames and the hypotheses are given as, and their items. */
enum { ARCS, COSTS, KEYS, BLANKS, PHONES, AFTER_BLANK, AFTER_PHONE };
enum { ARRAYS = AFTER_PHONE + 1 };
#define SIZES ARC_BYTES, 4, 8, 4, 4, 4, 4

/* Checks that the arrays fit together; the hypotheses become `work->alive`. */
Status begin(Work *work, Graph *graph, const Py_buffer *views, uint32_t tokens);

/* Views `count` arrays with items of these sizes; false, with an error set, if they are others. */
bool take(PyObject *const *objects, Py_buffer *views, const Py_ssize_t *sizes, int count);
void let_go(Py_buffer *views, int count);
static inline size_t length(const Py_buffer *view) { return (size_t)(view->len / view->itemsize); }

/* The next column of a tuple: a field, such as `.cost`, of all items of a table, as bytes. */
#define COLUMN(type, table, field)                                                    \
    do {                                                                              \
        PyObject *bytes =                                                             \
            PyBytes_FromStringAndSize(NULL, (Py_ssize_t)((table).count * sizeof(type))); \
        if (bytes == NULL) {                                                          \
            Py_DECREF(columns);                                                       \
            return NULL;                                                              \
        }                                                                             \
        type *to = (type *)PyBytes_AS_STRING(bytes);                                  \
        for (size_t i = 0; i < (table).count; i++)                                    \
            to[i] = (type)(table).at[i] field;                                        \
        PyTuple_SET_ITEM(columns, column++, bytes);                                   \
    } while (0)

/* Sets the error of a status; NULL. */
PyObject *failed(Status status);

/* See `asr.decoding.nbest.best_paths`. */
PyObject *best_paths(PyObject *module, PyObject *arguments);

#pragma GCC visibility pop

#endif
