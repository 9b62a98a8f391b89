/* Token passing as asr/decoding/passing.py specifies it, with the same results to the last bit.
 *
 * Works through all frames of a chunk in one call, without the interpreter's lock. Nothing is kept
 * between two calls: hypotheses and steps come in as arrays and go out as bytes. Whatever a graph
 * holds, nothing outside of its arrays is read.
 */

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { BLANK = 0, NOWHERE = -1, TOKEN_BITS = 6, TOKENS = 1 << TOKEN_BITS };
enum { MOST_STATES = 1 << 24, MOST_WAYS = 1 << 20, COST_RANKS = (1 << 18) - 1, FEW = 40 };

typedef enum { FINE, NO_MEMORY, DAMAGED, ENDLESS, DEAD } Status;

typedef struct {
    const uint32_t *first, *next;
    const uint8_t *epsilons, *label;
    const float *cost;
    uint32_t states, arcs;
} Graph;

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

/* Makes room for `needed` items; false if there is none. */
static bool grow(void *at, size_t *room, size_t needed, size_t size)
{
    if (needed <= *room)
        return true;
    size_t more = needed + needed / 2 + 64;
    void *moved = realloc(*(void **)at, more * size);
    if (moved == NULL)
        return false;
    *(void **)at = moved;
    *room = more;
    return true;
}
#define ROOM(array, needed) grow(&(array).at, &(array).room, (needed), sizeof *(array).at)

static float lesser(float a, float b) { return b < a ? b : a; }
static float cost_of(const Hypothesis *h) { return lesser(h->phone, h->blank); }
static int32_t last_of(const Hypothesis *h)
{
    return h->blank <= h->phone ? h->after_blank : h->after_phone;
}

/* The arcs of a state: those without a phone from `begin` on, those with one from `middle`. */
static bool arcs_of(const Graph *graph, uint32_t state, size_t *begin, size_t *middle, size_t *end)
{
    *begin = graph->first[state];
    *middle = *begin + graph->epsilons[state];
    *end = graph->first[state + 1];
    return *middle <= *end && *end <= graph->arcs;
}

static Status add_way(Work *work, const Graph *graph, uint32_t token, float cost, int32_t before,
                      size_t arc)
{
    uint32_t state = graph->next[arc];
    if (state >= graph->states)
        return DAMAGED;
    if (work->ways.count >= MOST_WAYS)
        return ENDLESS;
    if (!ROOM(work->ways, work->ways.count + 1))
        return NO_MEMORY;
    work->ways.at[work->ways.count++] =
        (Way){state << TOKEN_BITS | token, cost, before, (uint32_t)arc, NOWHERE};
    return FINE;
}

/* Adds where arcs without a phone lead to from the ways so far, for less than `limit`. */
static Status follow(Work *work, const Graph *graph, float limit)
{
    work->first_ways = work->ways.count;
    for (size_t from = 0; from < work->ways.count; from++) {
        Way way = work->ways.at[from];
        size_t begin, middle, end;
        if (!arcs_of(graph, way.key >> TOKEN_BITS, &begin, &middle, &end))
            return DAMAGED;
        for (size_t arc = begin; arc < middle; arc++) {
            float cost = way.cost + graph->cost[arc];
            if (!(cost < limit))
                continue;
            Status status = add_way(work, graph, way.key % TOKENS, cost, (int32_t)from, arc);
            if (status != FINE)
                return status;
        }
    }
    return FINE;
}

/* Where the hypotheses can go in a frame whose tokens have `costs`. */
static Status advance(Work *work, const Graph *graph, const float *costs, uint32_t tokens,
                      float beam)
{
    float cheapest = INFINITY, limit = INFINITY;
    for (uint32_t token = 1; token < tokens; token++)
        cheapest = lesser(cheapest, costs[token]);
    if (!ROOM(work->stay, work->alive.count))
        return NO_MEMORY;
    work->stay.count = work->alive.count;
    for (size_t i = 0; i < work->alive.count; i++) {
        const Hypothesis *h = &work->alive.at[i];
        Hypothesis stay = {h->key, cost_of(h) + costs[BLANK], h->phone + costs[h->key % TOKENS],
                           last_of(h), h->after_phone, NOWHERE};
        limit = lesser(limit, cost_of(&stay));
        work->stay.at[i] = stay;
    }
    limit += beam;
    work->ways.count = 0;
    float least = INFINITY;
    for (size_t i = 0; i < work->alive.count; i++) {
        const Hypothesis *h = &work->alive.at[i];
        float cost = cost_of(h);
        int32_t last = last_of(h);
        if (!(cost + cheapest < limit))
            continue;
        size_t begin, middle, end;
        if (!arcs_of(graph, h->key >> TOKEN_BITS, &begin, &middle, &end))
            return DAMAGED;
        for (size_t arc = middle; arc < end; arc++) {
            uint32_t label = graph->label[arc];
            if (label >= tokens)
                return DAMAGED;
            bool again = label == h->key % TOKENS; /* after a blank only */
            float way = (again ? h->blank : cost) + graph->cost[arc] + costs[label];
            if (!(way < limit))
                continue;
            least = lesser(least, way);
            int32_t before = again ? h->after_blank : last;
            Status status = add_way(work, graph, label, way, before, arc);
            if (status != FINE)
                return status;
        }
    }
    return follow(work, graph, lesser(limit, least + beam));
}

/* Sorts the ways by their keys, those with the same key by their places. */
static bool sort_ways(Work *work, uint32_t states)
{
    size_t count = work->ways.count;
    if (!ROOM(work->order, count) || !ROOM(work->spare, count))
        return false;
    uint64_t *order = work->order.at, *spare = work->spare.at;
    for (size_t i = 0; i < count; i++)
        order[i] = (uint64_t)work->ways.at[i].key << 32 | i;
    if (count < FEW) {
        for (size_t i = 1; i < count; i++) {
            uint64_t item = order[i];
            size_t at = i;
            for (; at > 0 && order[at - 1] > item; at--)
                order[at] = order[at - 1];
            order[at] = item;
        }
        return true;
    }
    for (int shift = 32; shift < 64 && (uint64_t)states << (32 + TOKEN_BITS) >> shift; shift += 8) {
        size_t starts[256] = {0}, start = 0;
        for (size_t i = 0; i < count; i++)
            starts[order[i] >> shift & 255]++;
        for (int digit = 0; digit < 256; digit++) {
            size_t size = starts[digit];
            starts[digit] = start;
            start += size;
        }
        for (size_t i = 0; i < count; i++)
            spare[starts[order[i] >> shift & 255]++] = order[i];
        uint64_t *swap = order;
        order = spare;
        spare = swap;
    }
    if (order != work->order.at)
        memcpy(work->order.at, order, count * sizeof *order);
    return true;
}

/* The cost that `most` - 1 of the merged hypotheses fall below, of more than `most`. */
static bool nth_cost(Work *work, size_t most, float *cost)
{
    if (!ROOM(work->costs, work->merged.count))
        return false;
    for (size_t i = 0; i < work->merged.count; i++) { /* floats in the order of their bits */
        float value = cost_of(&work->merged.at[i]);
        uint32_t bits;
        memcpy(&bits, &value, sizeof bits);
        work->costs.at[i] = bits & 0x80000000u ? ~bits : bits | 0x80000000u;
    }
    uint32_t prefix = 0, known = 0;
    for (int shift = 24; shift >= 0; shift -= 8) {
        size_t sizes[256] = {0}, digit = 0;
        for (size_t i = 0; i < work->merged.count; i++)
            if ((work->costs.at[i] & known) == prefix)
                sizes[work->costs.at[i] >> shift & 255]++;
        for (; most > sizes[digit]; digit++)
            most -= sizes[digit];
        prefix |= (uint32_t)digit << shift;
        known |= 255u << shift;
    }
    prefix = prefix & 0x80000000u ? prefix & 0x7fffffffu : ~prefix;
    memcpy(cost, &prefix, sizeof prefix);
    return true;
}

/* Of all ways to a key the cheapest, by ranks of costs as the arrays of passing.py have them. */
static void merge(Work *work, float best, double beam)
{
    const float span = (float)(2 * beam), scale = (float)(COST_RANKS / (2 * beam));
#define RANK(cost) ((int32_t)(lesser(span, (cost) - best) * scale))
    size_t i = 0, j = 0, count = 0;
    while (i < work->stay.count || j < work->ways.count) {
        Hypothesis *h = &work->merged.at[count++];
        uint32_t key = j < work->ways.count ? (uint32_t)(work->order.at[j] >> 32) : UINT32_MAX;
        int32_t rank = INT32_MAX;
        if (i < work->stay.count && work->stay.at[i].key <= key) {
            *h = work->stay.at[i++];
            rank = RANK(h->phone);
        } else {
            *h = (Hypothesis){key, INFINITY, INFINITY, NOWHERE, NOWHERE, NOWHERE};
        }
        for (; j < work->ways.count && work->order.at[j] >> 32 == h->key; j++) {
            int32_t place = (int32_t)(uint32_t)work->order.at[j];
            float cost = work->ways.at[place].cost;
            if (RANK(cost) < rank) {
                rank = RANK(cost);
                h->phone = cost;
                h->way = place;
            }
        }
    }
    work->merged.count = count;
}

/* Notes the ways that won, and what led to them, as steps. */
static bool record(Work *work, int32_t used, int32_t frame)
{
    Way *ways = work->ways.at;
    for (size_t i = work->ways.count; i-- > work->first_ways;)
        if (ways[i].place != NOWHERE)
            ways[ways[i].before].place = 0;
    if (!ROOM(work->steps, work->steps.count + work->ways.count) ||
        work->steps.count + work->ways.count > (size_t)(INT32_MAX - used))
        return false;
    for (size_t i = 0; i < work->ways.count; i++) {
        if (ways[i].place == NOWHERE)
            continue;
        ways[i].place = used + (int32_t)work->steps.count;
        int32_t before = i < work->first_ways ? ways[i].before : ways[ways[i].before].place;
        work->steps.at[work->steps.count++] = (Step){before, (int32_t)ways[i].arc, frame};
    }
    return true;
}

/* Keeps the cheapest way to each key, of those within the beam, and at most about `most`. */
static Status recombine(Work *work, uint32_t states, int32_t used, int32_t frame, double beam,
                        size_t most)
{
    float best = INFINITY;
    for (size_t i = 0; i < work->stay.count; i++)
        best = lesser(best, cost_of(&work->stay.at[i]));
    for (size_t i = 0; i < work->ways.count; i++)
        best = lesser(best, work->ways.at[i].cost);
    if (!(best < INFINITY))
        return DEAD;
    size_t all = work->stay.count + work->ways.count;
    if (!sort_ways(work, states) || !ROOM(work->merged, all) || !ROOM(work->alive, all))
        return NO_MEMORY;
    merge(work, best, beam);
    float limit = best + (float)beam, nth;
    if (work->merged.count > most) {
        if (!nth_cost(work, most, &nth))
            return NO_MEMORY;
        limit = lesser(limit, nth);
    }
    size_t count = 0;
    for (size_t i = 0; i < work->merged.count; i++)
        if (cost_of(&work->merged.at[i]) <= limit) {
            Hypothesis *h = &work->alive.at[count++];
            *h = work->merged.at[i];
            h->blank -= best;
            h->phone -= best;
            if (h->way != NOWHERE)
                work->ways.at[h->way].place = 0;
        }
    work->alive.count = count;
    if (!record(work, used, frame))
        return NO_MEMORY;
    for (size_t i = 0; i < count; i++)
        if (work->alive.at[i].way != NOWHERE)
            work->alive.at[i].after_phone = work->ways.at[work->alive.at[i].way].place;
    return FINE;
}

static const char *const REASONS[] = {
    [DAMAGED] = "the graph is damaged: its arcs lead nowhere; get the file again",
    [ENDLESS] = "arcs without a phone lead on without end; build the graph again",
    [DEAD] = "no hypothesis is left: the log-probabilities are no numbers",
};

/* What `pass_tokens` is given as arrays, and the size of their items. */
enum { FIRST, EPSILONS, LABEL, COST, NEXT, COSTS, KEYS, BLANKS, PHONES, AFTER_BLANK, AFTER_PHONE };
enum { ARRAYS = AFTER_PHONE + 1 };
static const Py_ssize_t SIZES[ARRAYS] = {4, 1, 1, 4, 4, 4, 8, 4, 4, 4, 4};

static void let_go(Py_buffer *views, int count)
{
    while (count-- > 0)
        PyBuffer_Release(&views[count]);
}

static bool take(PyObject *const *objects, Py_buffer *views, const Py_ssize_t *sizes, int count)
{
    for (int i = 0; i < count; i++) {
        if (PyObject_GetBuffer(objects[i], &views[i], PyBUF_C_CONTIGUOUS) < 0) {
            let_go(views, i);
            return false;
        }
        if (views[i].itemsize != sizes[i] || (uintptr_t)views[i].buf % (size_t)sizes[i]) {
            PyErr_Format(PyExc_TypeError, "array %d: expected aligned items of %zd bytes, got %zd",
                         i, sizes[i], views[i].itemsize);
            let_go(views, i + 1);
            return false;
        }
    }
    return true;
}

static size_t length(const Py_buffer *view) { return (size_t)(view->len / view->itemsize); }

/* Checks that the arrays fit together; the hypotheses become `work->alive`. */
static Status begin(Work *work, Graph *graph, const Py_buffer *views, uint32_t tokens)
{
    size_t states = length(&views[EPSILONS]), arcs = length(&views[LABEL]);
    if (states == 0 || states > MOST_STATES || arcs > UINT32_MAX || tokens > TOKENS ||
        length(&views[FIRST]) != states + 1 || length(&views[COST]) != arcs ||
        length(&views[NEXT]) != arcs)
        return DAMAGED;
    *graph = (Graph){views[FIRST].buf, views[NEXT].buf, views[EPSILONS].buf, views[LABEL].buf,
                     views[COST].buf,  (uint32_t)states, (uint32_t)arcs};
    const int64_t *keys = views[KEYS].buf;
    size_t count = length(&views[KEYS]);
    for (int i = BLANKS; i < ARRAYS; i++)
        if (length(&views[i]) != count)
            return DAMAGED;
    if (!ROOM(work->alive, count))
        return NO_MEMORY;
    for (size_t i = 0; i < count; i++) {
        if (keys[i] < 0 || (uint64_t)keys[i] >> TOKEN_BITS >= states || keys[i] % TOKENS >= tokens)
            return DAMAGED;
        work->alive.at[i] = (Hypothesis){
            (uint32_t)keys[i], ((const float *)views[BLANKS].buf)[i],
            ((const float *)views[PHONES].buf)[i], ((const int32_t *)views[AFTER_BLANK].buf)[i],
            ((const int32_t *)views[AFTER_PHONE].buf)[i], NOWHERE};
    }
    work->alive.count = count;
    return FINE;
}

/* A column of a table as bytes. */
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
            to[i] = (type)(table).at[i].field;                                        \
        PyTuple_SET_ITEM(columns, column++, bytes);                                   \
    } while (0)

/* Hypotheses and steps; of the last frame all ways too, and how many of them take a phone. */
static PyObject *answer(const Work *work, bool ways)
{
    PyObject *columns = PyTuple_New(ways ? 13 : 8);
    Py_ssize_t column = 0;
    if (columns == NULL)
        return NULL;
    COLUMN(int64_t, work->alive, key);
    COLUMN(float, work->alive, blank);
    COLUMN(float, work->alive, phone);
    COLUMN(int32_t, work->alive, after_blank);
    COLUMN(int32_t, work->alive, after_phone);
    COLUMN(int32_t, work->steps, before);
    COLUMN(int32_t, work->steps, arc);
    COLUMN(int32_t, work->steps, frame);
    if (!ways)
        return columns;
    COLUMN(int64_t, work->ways, key);
    COLUMN(float, work->ways, cost);
    COLUMN(int32_t, work->ways, before);
    COLUMN(int32_t, work->ways, arc);
    PyObject *first = PyLong_FromSize_t(work->first_ways);
    if (first == NULL) {
        Py_DECREF(columns);
        return NULL;
    }
    PyTuple_SET_ITEM(columns, column, first);
    return columns;
}

static PyObject *failed(Status status)
{
    if (status == NO_MEMORY)
        return PyErr_NoMemory();
    PyErr_SetString(PyExc_ValueError, REASONS[status]);
    return NULL;
}

static PyObject *pass_tokens(PyObject *module, PyObject *arguments)
{
    (void)module;
    PyObject *arrays[ARRAYS];
    Py_buffer views[ARRAYS];
    int used, frame, ways;
    double beam;
    Py_ssize_t most;
    if (!PyArg_ParseTuple(arguments, "(OOOOO)O(OOOOO)iidnp", &arrays[FIRST], &arrays[EPSILONS],
                          &arrays[LABEL], &arrays[COST], &arrays[NEXT], &arrays[COSTS],
                          &arrays[KEYS], &arrays[BLANKS], &arrays[PHONES], &arrays[AFTER_BLANK],
                          &arrays[AFTER_PHONE], &used, &frame, &beam, &most,
                          &ways) ||
        !take(arrays, views, SIZES, ARRAYS))
        return NULL;
    Work work = {0};
    Graph graph;
    const Py_buffer *costs = &views[COSTS];
    Status status = DAMAGED;
    if (costs->ndim == 2 && used >= 0 && frame >= 0 && most > 0) {
        uint32_t tokens = (uint32_t)Py_MIN(costs->shape[1], TOKENS + 1);
        Py_BEGIN_ALLOW_THREADS;
        status = begin(&work, &graph, views, tokens);
        for (Py_ssize_t t = 0; status == FINE && t < costs->shape[0]; t++) {
            const float *now = (const float *)costs->buf + t * costs->shape[1];
            status = advance(&work, &graph, now, tokens, (float)beam);
            if (status == FINE)
                status = recombine(&work, graph.states, used, frame + (int32_t)t, beam, (size_t)most);
        }
        Py_END_ALLOW_THREADS;
    }
    let_go(views, ARRAYS);
    PyObject *columns = status == FINE ? answer(&work, ways) : failed(status);
    free(work.alive.at);
    free(work.stay.at);
    free(work.merged.at);
    free(work.ways.at);
    free(work.order.at);
    free(work.spare.at);
    free(work.costs.at);
    free(work.steps.at);
    return columns;
}

static const char NO_STEPS[] = "these are no steps of the history";

/* The last step that all of some steps have come by; steps come after those before them. */
static PyObject *shared(PyObject *module, PyObject *arguments)
{
    (void)module;
    PyObject *arrays[2];
    Py_buffer views[2];
    const Py_ssize_t sizes[2] = {4, 4};
    if (!PyArg_ParseTuple(arguments, "OO", &arrays[0], &arrays[1]) || !take(arrays, views, sizes, 2))
        return NULL;
    const int32_t *before = views[0].buf, *steps = views[1].buf;
    int64_t known = (int64_t)length(&views[0]);
    int32_t common = INT32_MAX;
    bool fine = true;
    for (size_t i = 0; fine && i < length(&views[1]); i++) {
        int32_t step = steps[i];
        if (i == 0)
            common = step;
        while (fine && step != common) {
            int32_t *later = step > common ? &step : &common;
            fine = *later >= 0 && *later < known && before[*later] < *later;
            if (fine)
                *later = before[*later];
        }
    }
    fine = fine && length(&views[1]) > 0;
    let_go(views, 2);
    if (fine)
        return PyLong_FromLong(common);
    PyErr_SetString(PyExc_ValueError, NO_STEPS);
    return NULL;
}

/* Which of the steps lead to some of them: those have a number other than NOWHERE. */
static bool mark(const Py_buffer *before, const Py_buffer *steps, int32_t *number, size_t *marked)
{
    const int32_t *last = steps->buf, *leads = before->buf;
    size_t count = length(before);
    memset(number, 0xff, (count + 1) * sizeof *number);
    for (size_t i = 0; i < length(steps); i++) {
        if (last[i] < NOWHERE || last[i] >= (int64_t)count)
            return false;
        number[last[i] == NOWHERE ? count : (size_t)last[i]] = 0;
    }
    number[count] = NOWHERE;
    *marked = 0;
    for (size_t i = count; i-- > 0;) {
        if (number[i] == NOWHERE)
            continue;
        if (leads[i] < NOWHERE || leads[i] >= (int64_t)i)
            return false;
        if (leads[i] != NOWHERE)
            number[leads[i]] = 0;
        ++*marked;
    }
    return true;
}

/* Those that are marked as columns, with the numbers that they have among themselves. */
static PyObject *kept_columns(const Py_buffer *views, int32_t *number, size_t kept)
{
    PyObject *columns = PyTuple_New(4);
    int32_t *to[3] = {NULL};
    for (int i = 0; columns != NULL && i < 3; i++) {
        PyObject *bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)(kept * sizeof(int32_t)));
        if (bytes == NULL)
            Py_CLEAR(columns);
        else {
            PyTuple_SET_ITEM(columns, i, bytes);
            to[i] = (int32_t *)PyBytes_AS_STRING(bytes);
        }
    }
    if (columns == NULL)
        return NULL;
    const int32_t *before = views[0].buf, *arc = views[1].buf, *frame = views[2].buf;
    int32_t place = 0;
    for (size_t i = 0; i < length(&views[0]); i++) {
        if (number[i] == NOWHERE)
            continue;
        to[0][place] = before[i] == NOWHERE ? NOWHERE : number[before[i]];
        to[1][place] = arc[i];
        to[2][place] = frame[i];
        number[i] = place++;
    }
    return columns;
}

/* Only what leads to some steps, in columns; and the new number of each of the old ones. */
static PyObject *compacted(PyObject *module, PyObject *arguments)
{
    (void)module;
    enum { BEFORE, ARC, FRAME, STEPS, COUNT };
    PyObject *arrays[COUNT], *columns = NULL;
    Py_buffer views[COUNT];
    const Py_ssize_t sizes[COUNT] = {4, 4, 4, 4};
    if (!PyArg_ParseTuple(arguments, "OOOO", &arrays[BEFORE], &arrays[ARC], &arrays[FRAME],
                          &arrays[STEPS]) ||
        !take(arrays, views, sizes, COUNT))
        return NULL;
    size_t count = length(&views[BEFORE]), kept = 0;
    PyObject *bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)((count + 1) * sizeof(int32_t)));
    if (bytes != NULL) {
        int32_t *number = (int32_t *)PyBytes_AS_STRING(bytes);
        if (length(&views[ARC]) == count && length(&views[FRAME]) == count &&
            mark(&views[BEFORE], &views[STEPS], number, &kept))
            columns = kept_columns(views, number, kept);
        else
            PyErr_SetString(PyExc_ValueError, NO_STEPS);
    }
    let_go(views, COUNT);
    if (columns == NULL) {
        Py_XDECREF(bytes);
        return NULL;
    }
    PyTuple_SET_ITEM(columns, 3, bytes);
    return columns;
}

static PyMethodDef FUNCTIONS[] = {
    {"pass_tokens", pass_tokens, METH_VARARGS, "See `asr.decoding.passing.walk`."},
    {"compacted", compacted, METH_VARARGS, "See `asr.decoding.passing.History.compacted`."},
    {"shared", shared, METH_VARARGS, "See `asr.decoding.passing.History.shared`."},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot SLOTS[] = {
#ifdef Py_GIL_DISABLED
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0, NULL},
};

static struct PyModuleDef MODULE = {
    PyModuleDef_HEAD_INIT, .m_name = "asr.decoding._passing", .m_methods = FUNCTIONS, .m_slots = SLOTS,
};

PyMODINIT_FUNC PyInit__passing(void) { return PyModuleDef_Init(&MODULE); }
