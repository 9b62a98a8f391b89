/* Token passing as asr/decoding/passing.py specifies it, with the same results to the last bit.
 *
 * Works through all frames of a chunk in one call, without the interpreter's lock. Nothing is kept
 * between two calls but what was read of a graph in a file: hypotheses and steps come in as arrays
 * and go out as bytes. Whatever a graph holds, nothing outside of its arrays is read.
 */

#include "_passing.h"

#include <unistd.h>

enum { FEW = 40 };

bool grow(void *at, size_t *room, size_t needed, size_t size)
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

int32_t fetch(Kept *kept, size_t block)
{
    int32_t slot = kept->used;
    if (slot == MOST_BLOCKS) {
        for (; kept->looked_at[kept->hand]; kept->hand = (kept->hand + 1) % MOST_BLOCKS)
            kept->looked_at[kept->hand] = false;
        slot = kept->hand;
        kept->hand = (slot + 1) % MOST_BLOCKS;
        if (kept->block_of[slot] != NOWHERE)
            kept->slot_of[kept->block_of[slot]] = NOWHERE;
    } else {
        kept->used++;
    }
    kept->block_of[slot] = NOWHERE;
    size_t first = block * BLOCK, bytes = ARC_BYTES * Py_MIN(kept->count - first, BLOCK);
    off_t place = (off_t)(kept->begin + (long long)(first * ARC_BYTES));
    if (pread(kept->file, kept->memory + (size_t)slot * BLOCK * ARC_BYTES, bytes, place) !=
        (ssize_t)bytes) {
        kept->broken = true;
        return NOWHERE;
    }
    kept->block_of[slot] = (int32_t)block;
    return kept->slot_of[block] = slot;
}

uint32_t label_of(Words *words, uint32_t arc)
{
    uint32_t label = 0;
    if (arc < words->size) {
        off_t place = (off_t)(words->begin + (long long)sizeof label * arc);
        if (pread(words->file, &label, sizeof label, place) != sizeof label)
            words->missing = UNREADABLE;
    } else if (arc - words->size < (long long)words->more) {
        label = words->behind[arc - words->size];
    } else {
        words->missing = DAMAGED;
    }
    return label;
}

static int32_t last_of(const Hypothesis *h)
{
    return h->blank <= h->phone ? h->after_blank : h->after_phone;
}

static Status add_way(Work *work, const Graph *graph, uint32_t key, float cost, int32_t before,
                      size_t arc)
{
    if (key >> TOKEN_BITS >= graph->count)
        return DAMAGED;
    if (work->ways.count >= MOST_WAYS)
        return ENDLESS;
    if (!ROOM(work->ways, work->ways.count + 1))
        return NO_MEMORY;
    work->ways.at[work->ways.count++] =
        (Way){key, cost, before, (uint32_t)arc, NOWHERE};
    return FINE;
}

/* Adds where arcs without a phone lead to from the ways so far, for less than `limit`. */
static Status follow(Work *work, const Graph *graph, float limit)
{
    work->first_ways = work->ways.count;
    for (size_t from = 0; from < work->ways.count; from++) {
        Way way = work->ways.at[from];
        Run run = run_from(way.key >> TOKEN_BITS);
        for (bool more = true; more;) {
            Arc arc;
            if (!next_arc(graph, &run, &arc))
                return DAMAGED;
            uint32_t token = arc.key & TOKEN;
            float cost = way.cost + arc.cost;
            more = !arc.last && (token == END || token == BLANK);
            if (token != BLANK || !(cost < limit))
                continue;
            uint32_t key = arc.key | (way.key & TOKEN);
            Status status = add_way(work, graph, key, cost, (int32_t)from, run.place - 1);
            if (status != FINE)
                return status;
        }
    }
    return FINE;
}

Status advance(Work *work, const Graph *graph, const float *costs, uint32_t tokens, float beam)
{
    float cheapest = INFINITY, limit = INFINITY;
    for (uint32_t token = 1; token < tokens; token++)
        cheapest = lesser(cheapest, costs[token]);
    if (!ROOM(work->stay, work->alive.count))
        return NO_MEMORY;
    work->stay.count = work->alive.count;
    for (size_t i = 0; i < work->alive.count; i++) {
        const Hypothesis *h = &work->alive.at[i];
        Hypothesis stay = {h->key, cost_of(h) + costs[BLANK], h->phone + costs[h->key & TOKEN],
                           last_of(h), h->after_phone};
        limit = lesser(limit, cost_of(&stay));
        work->stay.at[i] = stay;
    }
    limit += beam;
    float bounds[TOKEN + 1]; /* what a token costs, or less */
    for (uint32_t token = 0; token <= TOKEN; token++)
        bounds[token] = token < tokens ? costs[token] : -INFINITY;
    bounds[BLANK] = bounds[END] = INFINITY;
    work->ways.count = 0;
    float tight = limit;
    for (size_t i = 0; i < work->alive.count; i++) {
        const Hypothesis *h = &work->alive.at[i];
        float cost = cost_of(h);
        if (!(cost + cheapest < limit))
            continue;
        Run run = run_from(h->key >> TOKEN_BITS);
        for (bool more = true; more;) {
            Arc arc;
            if (!next_arc(graph, &run, &arc))
                return DAMAGED;
            uint32_t token = arc.key & TOKEN;
            more = !arc.last;
            if (!(cost + arc.cost + bounds[token] < tight))
                continue;
            if (token >= tokens)
                return DAMAGED;
            bool again = token == (h->key & TOKEN); /* after a blank only */
            float way = (again ? h->blank : cost) + arc.cost + costs[token];
            if (!(way < tight))
                continue;
            tight = lesser(tight, way + beam);
            int32_t before = again ? h->after_blank : last_of(h);
            Status status = add_way(work, graph, arc.key, way, before, run.place - 1);
            if (status != FINE)
                return status;
        }
    }
    size_t kept = 0;
    for (size_t i = 0; i < work->ways.count; i++)
        if (work->ways.at[i].cost < tight)
            work->ways.at[kept++] = work->ways.at[i];
    work->ways.count = kept;
    return follow(work, graph, tight);
}

/* Sorts the ways by their keys, those with the same key by their places. */
static bool sort_ways(Work *work, uint64_t states)
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
    for (int shift = 32; shift < 64 && states << (32 + TOKEN_BITS) >> shift; shift += 8) {
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

/* In the place of a step, the way that it is to be the step of; and the other way round. */
static int32_t by_way(int32_t number) { return NOWHERE - 1 - number; }

/* Of all ways to a key the cheapest, by ranks of costs as the arrays of passing.py have them; those
 * that cost more than `limit` are left out. */
static void merge(Work *work, float best, double beam, float limit)
{
    const float span = (float)(2 * beam), scale = (float)(COST_RANKS / (2 * beam));
#define RANK(cost) ((int32_t)(lesser(span, (cost) - best) * scale))
    size_t i = 0, j = 0, count = 0;
    while (i < work->stay.count || j < work->ways.count) {
        Hypothesis *h = &work->merged.at[count];
        uint32_t key = j < work->ways.count ? (uint32_t)(work->order.at[j] >> 32) : UINT32_MAX;
        int32_t rank = INT32_MAX;
        if (i < work->stay.count && work->stay.at[i].key <= key) {
            *h = work->stay.at[i++];
            rank = RANK(h->phone);
        } else {
            *h = (Hypothesis){key, INFINITY, INFINITY, NOWHERE, NOWHERE};
        }
        for (; j < work->ways.count && work->order.at[j] >> 32 == h->key; j++) {
            int32_t place = (int32_t)(uint32_t)work->order.at[j];
            float cost = work->ways.at[place].cost;
            if (RANK(cost) < rank) {
                rank = RANK(cost);
                h->phone = cost;
                h->after_phone = by_way(place);
            }
        }
        count += cost_of(h) <= limit;
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

Status recombine(Work *work, size_t states, int32_t used, int32_t frame, double beam, size_t most)
{
    float best = INFINITY;
    for (size_t i = 0; i < work->stay.count; i++)
        best = lesser(best, cost_of(&work->stay.at[i]));
    for (size_t i = 0; i < work->ways.count; i++)
        best = lesser(best, work->ways.at[i].cost);
    if (!(best < INFINITY))
        return DEAD;
    size_t all = work->stay.count + work->ways.count;
    float limit = best + (float)beam;
    if (!sort_ways(work, states) || !ROOM(work->merged, all) || !ROOM(work->alive, all))
        return NO_MEMORY;
    merge(work, best, beam, limit);
    if (work->merged.count > most && !nth_cost(work, most, &limit))
        return NO_MEMORY;
    size_t count = 0;
    for (size_t i = 0; i < work->merged.count; i++) {
        Hypothesis h = work->merged.at[i];
        if (!(cost_of(&h) <= limit))
            continue;
        h.blank -= best;
        h.phone -= best;
        if (h.after_phone < NOWHERE)
            work->ways.at[by_way(h.after_phone)].place = 0;
        work->alive.at[count++] = h;
    }
    work->alive.count = count;
    if (!record(work, used, frame))
        return NO_MEMORY;
    for (size_t i = 0; i < count; i++)
        if (work->alive.at[i].after_phone < NOWHERE)
            work->alive.at[i].after_phone =
                work->ways.at[by_way(work->alive.at[i].after_phone)].place;
    return FINE;
}

static const char *const REASONS[] = {
    [DAMAGED] = "the graph is damaged: its arcs lead nowhere; get the file again",
    [ENDLESS] = "arcs without a phone lead on without end; build the graph again",
    [DEAD] = "no hypothesis is left: the log-probabilities are no numbers",
    [UNREADABLE] = "the unpacked graph can no longer be read; look at the disk that has the cache, "
                   "and load the graph again",
};

static const char KEPT[] = "asr.decoding._passing.kept";

static void free_kept(Kept *kept)
{
    if (kept != NULL) {
        free(kept->memory);
        free(kept->slot_of);
        free(kept);
    }
}

static void let_kept_go(PyObject *capsule) { free_kept(PyCapsule_GetPointer(capsule, KEPT)); }

/* Arcs in a file, for functions that take a graph. */
static PyObject *keep(PyObject *module, PyObject *arguments)
{
    (void)module;
    int file;
    long long begin;
    Py_ssize_t count;
    if (!PyArg_ParseTuple(arguments, "iLn", &file, &begin, &count))
        return NULL;
    if (begin < 0 || count < 1 || count > MOST_ARCS)
        return failed(DAMAGED);
    size_t blocks = ((size_t)count + BLOCK - 1) / BLOCK;
    Kept *kept = calloc(1, sizeof *kept);
    if (kept != NULL) {
        *kept = (Kept){.file = file, .begin = begin, .count = (size_t)count,
                       .memory = malloc((size_t)MOST_BLOCKS * BLOCK * ARC_BYTES),
                       .slot_of = malloc(blocks * sizeof *kept->slot_of)};
    }
    if (kept == NULL || kept->memory == NULL || kept->slot_of == NULL) {
        free_kept(kept);
        return PyErr_NoMemory();
    }
    memset(kept->slot_of, 0xff, blocks * sizeof *kept->slot_of);
    PyObject *capsule = PyCapsule_New(kept, KEPT, let_kept_go);
    if (capsule == NULL)
        free_kept(kept);
    return capsule;
}

Graph graph_of(const Py_buffer *view)
{
    if (view->obj != NULL)
        return (Graph){view->buf, length(view), NULL};
    Kept *kept = view->internal;
    kept->broken = false;
    return (Graph){NULL, kept->count, kept};
}

void let_go(Py_buffer *views, int count)
{
    while (count-- > 0)
        PyBuffer_Release(&views[count]);
}

bool take(PyObject *const *objects, Py_buffer *views, const Py_ssize_t *sizes, int count)
{
    for (int i = 0; i < count; i++) {
        if (sizes[i] == ARC_BYTES && PyCapsule_IsValid(objects[i], KEPT)) {
            views[i] = (Py_buffer){.internal = PyCapsule_GetPointer(objects[i], KEPT)};
            continue;
        }
        if (PyObject_GetBuffer(objects[i], &views[i], PyBUF_C_CONTIGUOUS) < 0) {
            let_go(views, i);
            return false;
        }
        if (views[i].itemsize != sizes[i] || (uintptr_t)views[i].buf % (size_t)(sizes[i] & -sizes[i])) {
            PyErr_Format(PyExc_TypeError, "array %d: expected aligned items of %zd bytes, got %zd",
                         i, sizes[i], views[i].itemsize);
            let_go(views, i + 1);
            return false;
        }
    }
    return true;
}

Status begin(Work *work, Graph *graph, const Py_buffer *views, uint32_t tokens)
{
    *graph = graph_of(&views[ARCS]);
    if (graph->count == 0 || graph->count > MOST_ARCS || tokens > END)
        return DAMAGED;
    const Hypothesis *alive = views[ALIVE].buf;
    size_t count = length(&views[ALIVE]);
    for (size_t i = 0; i < count; i++)
        if (alive[i].key >> TOKEN_BITS >= graph->count || (alive[i].key & TOKEN) >= tokens ||
            alive[i].after_blank < NOWHERE || alive[i].after_phone < NOWHERE)
            return DAMAGED;
    if (!ROOM(work->alive, count))
        return NO_MEMORY;
    memcpy(work->alive.at, alive, count * sizeof *alive);
    work->alive.count = count;
    return FINE;
}

PyObject *failed(Status status)
{
    if (status == NO_MEMORY)
        return PyErr_NoMemory();
    PyErr_SetString(PyExc_ValueError, REASONS[status]);
    return NULL;
}

void free_work(Work *work)
{
    free(work->alive.at);
    free(work->stay.at);
    free(work->merged.at);
    free(work->ways.at);
    free(work->order.at);
    free(work->spare.at);
    free(work->costs.at);
    free(work->steps.at);
    free(work->path.at);
}

/* The hypothesis that is best if it ends, which costs at most `cap`; NULL if none can. */
static const Hypothesis *best_end(const Work *work, const Graph *graph, float cap)
{
    const Hypothesis *best = NULL;
    float least = INFINITY;
    for (size_t i = 0; i < work->alive.count; i++) {
        const Hypothesis *h = &work->alive.at[i];
        if (!(cost_of(h) < least))
            continue;
        float cost = cost_of(h) + final_cost(graph, h->key >> TOKEN_BITS, cap);
        if (cost < least) {
            least = cost;
            best = h;
        }
    }
    return best;
}

/* The steps of all hypotheses: those that are known, and those that are new. */
typedef struct {
    const Step *known;
    int32_t used;
    const Work *work;
} History;

static const Step *step_at(const History *history, int32_t step)
{
    int32_t used = history->used;
    return step < used ? &history->known[step] : &history->work->steps.at[step - used];
}

/* The steps that lead to `last`, in `work->path` from the last one on, without the first `*shared`
 * of them, which are the first of the `known` ones. */
static Status walk_back(Work *work, const History *history, int32_t last, const Py_buffer *known,
                        Py_ssize_t *shared)
{
    const int32_t *steps = known->buf;
    int64_t count = history->used + (int64_t)work->steps.count;
    *shared = (Py_ssize_t)length(known);
    for (int32_t step = last; step != NOWHERE; step = step_at(history, step)->before) {
        if (step < 0 || step >= count || step_at(history, step)->before >= step)
            return DAMAGED;
        while (*shared > 0 && steps[*shared - 1] > step)
            --*shared;
        if (*shared > 0 && steps[*shared - 1] == step)
            return FINE;
        if (!ROOM(work->path, work->path.count + 1))
            return NO_MEMORY;
        work->path.at[work->path.count++] = step;
    }
    *shared = 0;
    return FINE;
}

/* Adds what a step gives, if something, with its place in the path; false if there is no memory. */
static bool add_given(PyObject *given, Py_ssize_t place, uint32_t label)
{
    if (label == 0)
        return true;
    PyObject *pair = Py_BuildValue("nI", place, label);
    bool fine = pair != NULL && PyList_Append(given, pair) == 0;
    Py_XDECREF(pair);
    return fine;
}

/* How many of the known steps the path shares, its other steps, and what these give. */
static PyObject *path_of(const Work *work, const History *history, Py_ssize_t shared,
                         const Graph *graph, Words *words)
{
    Py_ssize_t count = (Py_ssize_t)work->path.count;
    PyObject *steps = PyBytes_FromStringAndSize(NULL, count * (Py_ssize_t)sizeof(int32_t));
    PyObject *given = PyList_New(0), *path = NULL;
    bool fine = steps != NULL && given != NULL;
    for (Py_ssize_t i = 0; fine && i < count; i++) {
        int32_t step = work->path.at[count - 1 - i];
        ((int32_t *)PyBytes_AS_STRING(steps))[i] = step;
        uint32_t arc = (uint32_t)step_at(history, step)->arc;
        fine = !gives(graph, arc) || add_given(given, shared + i, label_of(words, arc));
    }
    if (fine)
        path = Py_BuildValue("nOO", shared, steps, given);
    Py_XDECREF(steps);
    Py_XDECREF(given);
    return path;
}

/* Goes through the frames. */
static Status go_on(Work *work, const Graph *graph, const Py_buffer *costs, uint32_t tokens,
                    int32_t used, int32_t frame, double beam, size_t most)
{
    Status status = FINE;
    for (Py_ssize_t t = 0; status == FINE && t < costs->shape[0]; t++) {
        const float *now = (const float *)costs->buf + t * costs->shape[1];
        status = advance(work, graph, now, tokens, (float)beam);
        if (status == FINE)
            status = recombine(work, graph->count, used, frame + (int32_t)t, beam, most);
        status = as_read(graph, NULL, status);
    }
    return status;
}

static PyObject *pass_tokens(PyObject *module, PyObject *arguments)
{
    (void)module;
    enum { MORE = ARRAYS, HISTORY, KNOWN, ALL };
    const Py_ssize_t sizes[ALL] = {SIZES, 4, 4, 4};
    PyObject *arrays[ALL], *path = NULL, *columns = NULL;
    Py_buffer views[ALL];
    Words words = {0};
    int used, frame;
    double beam, cap;
    Py_ssize_t most, shared = 0;
    if (!PyArg_ParseTuple(arguments, "OOO(iLLO)OOiidnd", &arrays[ARCS], &arrays[COSTS],
                          &arrays[ALIVE], &words.file, &words.begin, &words.size, &arrays[MORE],
                          &arrays[HISTORY], &arrays[KNOWN], &used, &frame, &beam, &most, &cap) ||
        !take(arrays, views, sizes, ALL))
        return NULL;
    words.behind = views[MORE].buf;
    words.more = length(&views[MORE]);
    Work work = {0};
    Graph graph;
    History history = {views[HISTORY].buf, used, &work};
    const Py_buffer *costs = &views[COSTS];
    const Hypothesis *best = NULL;
    Status status = DAMAGED;
    if (costs->ndim == 2 && used >= 0 && (size_t)used <= steps_of(&views[HISTORY]) && frame >= 0 &&
        most > 0) {
        uint32_t tokens = (uint32_t)Py_MIN(costs->shape[1], END + 1);
        Py_BEGIN_ALLOW_THREADS;
        status = begin(&work, &graph, views, tokens);
        if (status == FINE)
            status = go_on(&work, &graph, costs, tokens, used, frame, beam, (size_t)most);
        best = status == FINE ? best_end(&work, &graph, (float)cap) : NULL;
        if (best != NULL)
            status = walk_back(&work, &history, last_of(best), &views[KNOWN], &shared);
        Py_END_ALLOW_THREADS;
    }
    if (status == FINE) {
        path = best == NULL ? Py_NewRef(Py_None)
                            : path_of(&work, &history, shared, &graph, &words);
        status = as_read(&graph, &words, status);
    }
    if (status != FINE)
        failed(status);
    else if (path != NULL)
        columns = Py_BuildValue("NNO", ROWS(work.alive), ROWS(work.steps), path);
    Py_XDECREF(path);
    let_go(views, ALL);
    free_work(&work);
    return columns;
}

static const char NO_STEPS[] = "these are no steps of the history";

/* The last step of a hypothesis by its blank or its phone; false if it cannot be there that way.
 * `*fine` becomes false if that is none of `count` steps. */
static bool end_of(const Hypothesis *h, bool phone, size_t count, int32_t *end, bool *fine)
{
    *end = phone ? h->after_phone : h->after_blank;
    *fine = *fine && *end >= NOWHERE && *end < (int64_t)count;
    return *fine && (phone ? h->phone : h->blank) < INFINITY;
}

/* The last step that all hypotheses have come by, at `*common`; false if they are none.
 *
 * From the last one on each leads on to the one before it, until they have all met: `open`, with
 * zeros for all steps and before them NOWHERE, says at which some stand. */
static bool meet(const Py_buffer *history, const Py_buffer *alive, uint8_t *open, int32_t *common)
{
    const Step *taken = history->buf;
    const Hypothesis *hypotheses = alive->buf;
    size_t apart = 0;
    int32_t step = NOWHERE, end;
    bool fine = true;
    for (size_t i = 0; i < 2 * length(alive); i++) {
        if (!end_of(&hypotheses[i / 2], i % 2, steps_of(history), &end, &fine))
            continue;
        apart += !open[end + 1];
        open[end + 1] = 1;
        step = end > step ? end : step;
    }
    for (; fine && apart > 1; step--) {
        if (!open[step + 1])
            continue;
        int32_t to = taken[step].before;
        if (to < NOWHERE || to >= step)
            return false;
        apart -= open[to + 1];
        open[to + 1] = 1;
    }
    while (fine && apart && !open[step + 1])
        step--;
    *common = step;
    return fine && apart;
}

static PyObject *shared(PyObject *module, PyObject *arguments)
{
    (void)module;
    PyObject *arrays[2];
    Py_buffer views[2];
    const Py_ssize_t sizes[2] = {4, sizeof(Hypothesis)};
    if (!PyArg_ParseTuple(arguments, "OO", &arrays[0], &arrays[1]) ||
        !take(arrays, views, sizes, 2))
        return NULL;
    uint8_t *open = calloc(steps_of(&views[0]) + 1, 1);
    int32_t common = NOWHERE;
    bool fine = open != NULL && meet(&views[0], &views[1], open, &common);
    let_go(views, 2);
    if (open == NULL)
        return PyErr_NoMemory();
    free(open);
    if (fine)
        return PyLong_FromLong(common);
    PyErr_SetString(PyExc_ValueError, NO_STEPS);
    return NULL;
}

/* Which steps lead to hypotheses: those have a number other than NOWHERE, for now. */
static bool mark(const Py_buffer *history, const Py_buffer *alive, int32_t *number)
{
    const Step *taken = history->buf;
    const Hypothesis *hypotheses = alive->buf;
    size_t count = steps_of(history);
    int32_t end;
    bool fine = true;
    memset(number, 0xff, count * sizeof *number);
    for (size_t i = 0; i < 2 * length(alive); i++)
        if (end_of(&hypotheses[i / 2], i % 2, count, &end, &fine) && end != NOWHERE)
            number[end] = 0;
    for (size_t i = count; fine && i-- > 0;) {
        if (number[i] == NOWHERE)
            continue;
        int32_t before = taken[i].before;
        fine = before >= NOWHERE && before < (int64_t)i;
        if (fine && before != NOWHERE)
            number[before] = 0;
    }
    return fine;
}

/* Only the steps that have a number, a path and the hypotheses, all with the numbers of steps that
 * are left. */
static bool renumber(Work *work, int32_t *number, const Py_buffer *views)
{
    const Step *taken = views[0].buf;
    const Hypothesis *hypotheses = views[1].buf;
    const int32_t *path = views[2].buf;
    size_t count = steps_of(&views[0]);
    if (!ROOM(work->steps, count) || !ROOM(work->alive, length(&views[1])) ||
        !ROOM(work->path, length(&views[2])))
        return false;
#define NEW(step) ((step) == NOWHERE ? NOWHERE : number[step])
    for (size_t i = 0; i < count; i++) {
        if (number[i] == NOWHERE)
            continue;
        number[i] = (int32_t)work->steps.count;
        work->steps.at[work->steps.count++] =
            (Step){NEW(taken[i].before), taken[i].arc, taken[i].frame};
    }
    for (size_t i = 0; i < length(&views[1]); i++) {
        Hypothesis h = hypotheses[i];
        h.after_blank = NEW(h.after_blank);
        h.after_phone = NEW(h.after_phone);
        work->alive.at[work->alive.count++] = h;
    }
    for (size_t i = 0; i < length(&views[2]); i++)
        work->path.at[work->path.count++] = number[path[i]];
    return true;
}

static PyObject *compacted(PyObject *module, PyObject *arguments)
{
    (void)module;
    enum { HISTORY, HYPOTHESES, PATH, COUNT };
    PyObject *arrays[COUNT], *columns = NULL;
    Py_buffer views[COUNT];
    const Py_ssize_t sizes[COUNT] = {4, sizeof(Hypothesis), 4};
    if (!PyArg_ParseTuple(arguments, "OOO", &arrays[HISTORY], &arrays[HYPOTHESES], &arrays[PATH]) ||
        !take(arrays, views, sizes, COUNT))
        return NULL;
    Work work = {0};
    size_t count = steps_of(&views[HISTORY]);
    int32_t *number = malloc((count + 1) * sizeof *number);
    bool fine = number != NULL && mark(&views[HISTORY], &views[HYPOTHESES], number);
    for (size_t i = 0; fine && i < length(&views[PATH]); i++) {
        int32_t step = ((const int32_t *)views[PATH].buf)[i];
        fine = step >= 0 && step < (int64_t)count;
    }
    if (number == NULL || (fine && !renumber(&work, number, views)))
        PyErr_NoMemory();
    else if (fine)
        columns = Py_BuildValue("NNN", ROWS(work.steps), ROWS(work.path), ROWS(work.alive));
    else
        PyErr_SetString(PyExc_ValueError, NO_STEPS);
    let_go(views, COUNT);
    free_work(&work);
    free(number);
    return columns;
}

static PyMethodDef FUNCTIONS[] = {
    {"keep", keep, METH_VARARGS, "See `asr.decoding.passing.compiled`."},
    {"pass_tokens", pass_tokens, METH_VARARGS, "See `asr.decoding.passing.walk`."},
    {"best_paths", best_paths, METH_VARARGS, "See `asr.decoding.nbest.best_paths`."},
    {"compacted", compacted, METH_VARARGS, "See `asr.decoding.passing.History.compacted`."},
    {"distances", distances, METH_VARARGS, "See `asr.decoding.risk.distances`."},
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
