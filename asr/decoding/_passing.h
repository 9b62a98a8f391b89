/* What _passing.c, _trellis.c and _distances.c share: how tokens are passed, and how arrays come
 * from Python. */

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
enum { NEVER = INT16_MAX, ARC_BYTES = 6, MOST_ARCS = 1 << 24, GIVES = 1 << 30 };
enum { MOST_WAYS = 1 << 20, COST_RANKS = (1 << 18) - 1 };
static const float STEP = 1.0f / 32;

typedef enum { FINE, NO_MEMORY, DAMAGED, ENDLESS, DEAD, UNREADABLE } Status;

/* Arcs in a file, of which the blocks that were read last are kept.
 *
 * Mapped into memory, a graph would soon be there as a whole: what a search comes by is spread over
 * nearly all pages. When there is no room left, that block goes which was not looked at since the
 * hand came by last, as in the clock algorithm (Corbato 1968). One thread uses this at a time. */
enum { BLOCK = 256, MOST_BLOCKS = 3072 };
typedef struct {
    int file;
    long long begin;          /* of the first arc, in the file */
    size_t count;             /* of arcs */
    uint8_t *memory;          /* MOST_BLOCKS blocks */
    int32_t *slot_of;         /* of each block, or NOWHERE */
    int32_t block_of[MOST_BLOCKS];
    bool looked_at[MOST_BLOCKS];
    int32_t used, hand;
    bool broken;              /* something could not be read */
} Kept;

/* Arcs, see `PACKED` in asr/decoding/graph.py, all in memory or in a file; a state is the place of
 * its first. */
typedef struct {
    const uint8_t *arcs; /* NULL if in a file */
    size_t count;
    Kept *kept;
} Graph;

typedef struct {
    uint32_t key; /* the state that it leads to, then the token that it takes */
    float cost;
    bool last; /* of its state */
} Arc;

typedef struct {
    uint32_t key; /* state of the graph, then last token */
    float blank, phone;
    int32_t after_blank, after_phone; /* steps; in `merged` after_phone can be `by_way` */
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
    ARRAY(int32_t) path;
    size_t first_ways;  /* so many ways take a phone; what follows them comes behind */
} Work;

#pragma GCC visibility push(hidden) /* some of these names are the C library's too */

/* Makes room for `needed` items; false if there is none. */
bool grow(void *at, size_t *room, size_t needed, size_t size);
#define ROOM(array, needed) grow(&(array).at, &(array).room, (needed), sizeof *(array).at)

static inline float lesser(float a, float b) { return b < a ? b : a; }
static inline float cost_of(const Hypothesis *h) { return lesser(h->phone, h->blank); }

/* Reads a block of arcs from the file; its slot, or NOWHERE if it cannot be read. */
int32_t fetch(Kept *kept, size_t block);

static inline const uint8_t *bytes_at(const Graph *graph, size_t place)
{
    static const uint8_t nothing[ARC_BYTES] = {END, 0, 0, 0x80, 0xff, 0x7f}; /* ends; NEVER */
    if (graph->arcs != NULL)
        return graph->arcs + place * ARC_BYTES;
    Kept *kept = graph->kept;
    int32_t slot = kept->slot_of[place / BLOCK];
    if (slot == NOWHERE && (slot = fetch(kept, place / BLOCK)) == NOWHERE)
        return nothing;
    kept->looked_at[slot] = true;
    return kept->memory + ((size_t)slot * BLOCK + place % BLOCK) * ARC_BYTES;
}

static inline Arc arc_of(const uint8_t *bytes)
{
    uint32_t key;
    int16_t steps;
    memcpy(&key, bytes, sizeof key);
    memcpy(&steps, bytes + sizeof key, sizeof steps);
    return (Arc){key & ((MOST_ARCS << TOKEN_BITS) - 1), steps * STEP, key >> 31};
}

/* Arcs that lie together, from one on; those of a state can lie in several such runs. */
typedef struct {
    const uint8_t *bytes;
    size_t place, end;
} Run;

static inline Run run_from(size_t place) { return (Run){NULL, place, place}; }

/* The next arc; false if there is none, as the graph is damaged. */
static inline bool next_arc(const Graph *graph, Run *run, Arc *arc)
{
    if (run->place == run->end) {
        if (run->place == graph->count)
            return false;
        size_t behind = graph->arcs == NULL ? (run->place / BLOCK + 1) * BLOCK : graph->count;
        run->bytes = bytes_at(graph, run->place);
        run->end = Py_MIN(behind, graph->count);
    }
    *arc = arc_of(run->bytes);
    run->bytes += ARC_BYTES;
    run->place++;
    return true;
}

/* The labels of words that arcs give: first those in a file, then those in memory. */
typedef struct {
    int file;
    long long begin, size; /* where they are in the file, and how many */
    const uint32_t *behind;
    size_t more;
    Status missing; /* why a label could not be had, or FINE */
} Words;

/* Whether an arc gives a word or a tag; the arc from nowhere, NOWHERE, gives none. */
static inline bool gives(const Graph *graph, uint32_t arc)
{
    uint32_t key = 0;
    if (arc < graph->count)
        memcpy(&key, bytes_at(graph, arc), sizeof key);
    return key & GIVES;
}

/* The label that such an arc gives. */
uint32_t label_of(Words *words, uint32_t arc);

/* What it costs to end in a state, 0 or more. */
static inline float final_cost(const Graph *graph, uint32_t state, float cap)
{
    Arc arc = arc_of(bytes_at(graph, state));
    bool ends = (arc.key & TOKEN) == END && arc.cost < NEVER * STEP;
    return lesser(cap, ends ? fmaxf(arc.cost, 0) : INFINITY);
}

/* Where the hypotheses can go in a frame whose tokens have `costs`. */
Status advance(Work *work, const Graph *graph, const float *costs, uint32_t tokens, float beam);

/* Keeps the cheapest way to each key, of those within the beam, and at most about `most`. */
Status recombine(Work *work, size_t states, int32_t used, int32_t frame, double beam, size_t most);

void free_work(Work *work);

/* What the graph, the costs of the frames and the hypotheses are given as, and their items. */
enum { ARCS, COSTS, ALIVE, ARRAYS };
#define SIZES ARC_BYTES, sizeof(float), sizeof(Hypothesis)

/* The graph that `take` was given. */
Graph graph_of(const Py_buffer *view);
/* What became of it all, if but for reading it went as `status` says. */
static inline Status as_read(const Graph *graph, const Words *words, Status status)
{
    if (graph->kept != NULL && graph->kept->broken)
        return UNREADABLE;
    return words != NULL && words->missing != FINE ? words->missing : status;
}

/* Checks that the arrays fit together; the hypotheses become `work->alive`. */
Status begin(Work *work, Graph *graph, const Py_buffer *views, uint32_t tokens);

/* Views `count` arrays with items of these sizes; false, with an error set, if they are others. In
 * the place of arcs there may be what `kept` gave. */
bool take(PyObject *const *objects, Py_buffer *views, const Py_ssize_t *sizes, int count);
void let_go(Py_buffer *views, int count);
static inline size_t length(const Py_buffer *view) { return (size_t)(view->len / view->itemsize); }

/* A history is given as numbers: so many steps it has. */
static inline size_t steps_of(const Py_buffer *history)
{
    return (size_t)history->len / sizeof(Step);
}

/* A table as bytes. */
#define ROWS(table)                                     \
    PyBytes_FromStringAndSize((const char *)(table).at, \
                              (Py_ssize_t)((table).count * sizeof *(table).at))

/* Sets the error of a status; NULL. */
PyObject *failed(Status status);

/* See `asr.decoding.nbest.best_paths` and `asr.decoding.risk.distances`. */
PyObject *best_paths(PyObject *module, PyObject *arguments);
PyObject *distances(PyObject *module, PyObject *arguments);

#pragma GCC visibility pop

#endif
