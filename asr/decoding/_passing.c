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
        bool more = true;
        for (size_t place = way.key >> TOKEN_BITS; more; place++) {
            if (place == graph->count)
                return DAMAGED;
            Arc arc = arc_at(graph, place);
            uint32_t token = arc.key & TOKEN;
            float cost = way.cost + arc.cost;
            more = !arc.last && (token == END || token == BLANK);
            if (token != BLANK || !(cost < limit))
                continue;
            uint32_t key = arc.key | (way.key & TOKEN);
            Status status = add_way(work, graph, key, cost, (int32_t)from, place);
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
                           last_of(h), h->after_phone, NOWHERE};
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
        bool more = true;
        for (size_t place = h->key >> TOKEN_BITS; more; place++) {
            if (place == graph->count)
                return DAMAGED;
            Arc arc = arc_at(graph, place);
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
            Status status = add_way(work, graph, arc.key, way, before, place);
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
    const int64_t *keys = views[KEYS].buf;
    size_t count = length(&views[KEYS]);
    for (int i = BLANKS; i < ARRAYS; i++)
        if (length(&views[i]) != count)
            return DAMAGED;
    if (!ROOM(work->alive, count))
        return NO_MEMORY;
    for (size_t i = 0; i < count; i++) {
        if (keys[i] < 0 || (uint64_t)keys[i] >> TOKEN_BITS >= graph->count ||
            (keys[i] & TOKEN) >= tokens)
            return DAMAGED;
        work->alive.at[i] = (Hypothesis){
            (uint32_t)keys[i], ((const float *)views[BLANKS].buf)[i],
            ((const float *)views[PHONES].buf)[i], ((const int32_t *)views[AFTER_BLANK].buf)[i],
            ((const int32_t *)views[AFTER_PHONE].buf)[i], NOWHERE};
    }
    work->alive.count = count;
    return FINE;
}

/* Hypotheses and steps. */
static PyObject *answer(const Work *work)
{
    PyObject *columns = PyTuple_New(8);
    Py_ssize_t column = 0;
    if (columns == NULL)
        return NULL;
    COLUMN(int64_t, work->alive, .key);
    COLUMN(float, work->alive, .blank);
    COLUMN(float, work->alive, .phone);
    COLUMN(int32_t, work->alive, .after_blank);
    COLUMN(int32_t, work->alive, .after_phone);
    COLUMN(int32_t, work->steps, .before);
    COLUMN(int32_t, work->steps, .arc);
    COLUMN(int32_t, work->steps, .frame);
    return columns;
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
}

static PyObject *pass_tokens(PyObject *module, PyObject *arguments)
{
    (void)module;
    PyObject *arrays[ARRAYS];
    Py_buffer views[ARRAYS];
    const Py_ssize_t sizes[ARRAYS] = {SIZES};
    int used, frame;
    double beam;
    Py_ssize_t most;
    if (!PyArg_ParseTuple(arguments, "OO(OOOOO)iidn", &arrays[ARCS], &arrays[COSTS],
                          &arrays[KEYS], &arrays[BLANKS], &arrays[PHONES], &arrays[AFTER_BLANK],
                          &arrays[AFTER_PHONE], &used, &frame, &beam, &most) ||
        !take(arrays, views, sizes, ARRAYS))
        return NULL;
    Work work = {0};
    Graph graph;
    const Py_buffer *costs = &views[COSTS];
    Status status = DAMAGED;
    if (costs->ndim == 2 && used >= 0 && frame >= 0 && most > 0) {
        uint32_t tokens = (uint32_t)Py_MIN(costs->shape[1], END + 1);
        Py_BEGIN_ALLOW_THREADS;
        status = begin(&work, &graph, views, tokens);
        for (Py_ssize_t t = 0; status == FINE && t < costs->shape[0]; t++) {
            const float *now = (const float *)costs->buf + t * costs->shape[1];
            status = advance(&work, &graph, now, tokens, (float)beam);
            if (status == FINE)
                status = recombine(&work, graph.count, used, frame + (int32_t)t, beam, (size_t)most);
            status = as_read(&graph, NULL, status);
        }
        Py_END_ALLOW_THREADS;
    }
    let_go(views, ARRAYS);
    PyObject *columns = status == FINE ? answer(&work) : failed(status);
    free_work(&work);
    return columns;
}

/* The hypothesis that is best if it ends, which costs at most `cap`; NULL if none can. */
static const Hypothesis *best_end(const Work *work, const Graph *graph, float cap)
{
    const Hypothesis *best = NULL;
    float least = INFINITY;
    for (size_t i = 0; i < work->alive.count; i++) {
        const Hypothesis *h = &work->alive.at[i];
        float cost = cost_of(h) + final_cost(graph, h->key >> TOKEN_BITS, cap);
        if (cost < least) {
            least = cost;
            best = h;
        }
    }
    return best;
}

/* The steps that lead to `last`, in `work->steps` from the last one on, without the first `*shared`
 * of them, which are the first of the `known` ones. */
static Status walk_back(Work *work, int32_t last, const Py_buffer *history, const Py_buffer *known,
                        Py_ssize_t *shared)
{
    const int32_t *before = history[0].buf, *arcs = history[1].buf, *steps = known->buf;
    int64_t used = (int64_t)Py_MIN(length(&history[0]), length(&history[1]));
    *shared = (Py_ssize_t)length(known);
    for (int32_t step = last; step != NOWHERE; step = before[step]) {
        if (step < 0 || step >= used || before[step] >= step)
            return DAMAGED;
        while (*shared > 0 && steps[*shared - 1] > step)
            --*shared;
        if (*shared > 0 && steps[*shared - 1] == step)
            return FINE;
        if (!ROOM(work->steps, work->steps.count + 1))
            return NO_MEMORY;
        work->steps.at[work->steps.count++] = (Step){step, arcs[step], 0};
    }
    *shared = 0;
    return FINE;
}

/* How many of the known steps it shares, its other steps, and the labels that these give. */
static PyObject *path_of(const Work *work, Py_ssize_t shared, const Graph *graph, Words *words)
{
    Py_ssize_t count = (Py_ssize_t)work->steps.count;
    PyObject *steps = PyBytes_FromStringAndSize(NULL, count * (Py_ssize_t)sizeof(int32_t));
    PyObject *labels = PyBytes_FromStringAndSize(NULL, count * (Py_ssize_t)sizeof(uint32_t));
    if (steps != NULL && labels != NULL)
        for (Py_ssize_t i = 0; i < count; i++) {
            Step step = work->steps.at[count - 1 - i];
            ((int32_t *)PyBytes_AS_STRING(steps))[i] = step.before;
            uint32_t arc = (uint32_t)step.arc;
            uint32_t label = gives(graph, arc) ? label_of(words, arc) : 0;
            ((uint32_t *)PyBytes_AS_STRING(labels))[i] = label;
        }
    PyObject *path =
        steps != NULL && labels != NULL ? Py_BuildValue("nOO", shared, steps, labels) : NULL;
    Py_XDECREF(steps);
    Py_XDECREF(labels);
    return path;
}

static PyObject *best_path(PyObject *module, PyObject *arguments)
{
    (void)module;
    enum { MORE = COSTS, BEFORE = ARRAYS, ARC, KNOWN, ALL };
    const Py_ssize_t sizes[ALL] = {SIZES, 4, 4, 4};
    PyObject *arrays[ALL], *path = NULL;
    Py_buffer views[ALL];
    Words words = {0};
    double cap;
    if (!PyArg_ParseTuple(arguments, "O(iLLO)(OOOOO)(OO)Od", &arrays[ARCS], &words.file,
                          &words.begin, &words.size, &arrays[MORE], &arrays[KEYS], &arrays[BLANKS],
                          &arrays[PHONES], &arrays[AFTER_BLANK], &arrays[AFTER_PHONE],
                          &arrays[BEFORE], &arrays[ARC], &arrays[KNOWN], &cap) ||
        !take(arrays, views, sizes, ALL))
        return NULL;
    words.behind = views[MORE].buf;
    words.more = length(&views[MORE]);
    Work work = {0};
    Graph graph;
    Py_ssize_t shared = 0;
    Status status = begin(&work, &graph, views, END);
    const Hypothesis *best = status == FINE ? best_end(&work, &graph, (float)cap) : NULL;
    bool ends = best != NULL;
    if (ends)
        status = walk_back(&work, last_of(best), &views[BEFORE], &views[KNOWN], &shared);
    if (status == FINE && ends)
        path = path_of(&work, shared, &graph, &words);
    status = as_read(&graph, &words, status);
    let_go(views, ALL);
    free_work(&work);
    if (status != FINE) {
        Py_XDECREF(path);
        return failed(status);
    }
    return ends ? path : Py_NewRef(Py_None);
}

static const char NO_STEPS[] = "these are no steps of the history";

/* The last step that all of some steps have come by, at `*common`; false if they are none.
 *
 * From the last one on each leads on to the one before it, until they have all met: `open`, with
 * zeros for all steps and before them NOWHERE, says at which some stand. */
static bool meet(const Py_buffer *before, const Py_buffer *steps, uint8_t *open, int32_t *common)
{
    const int32_t *leads = before->buf, *ends = steps->buf;
    size_t apart = 0;
    int32_t step = NOWHERE;
    for (size_t i = 0; i < length(steps); i++) {
        if (ends[i] < NOWHERE || ends[i] >= (int64_t)length(before))
            return false;
        apart += !open[ends[i] + 1];
        open[ends[i] + 1] = 1;
        step = ends[i] > step ? ends[i] : step;
    }
    for (; apart > 1; step--) {
        if (!open[step + 1])
            continue;
        int32_t to = leads[step];
        if (to < NOWHERE || to >= step)
            return false;
        apart -= open[to + 1];
        open[to + 1] = 1;
    }
    while (apart && !open[step + 1])
        step--;
    *common = step;
    return apart;
}

static PyObject *shared(PyObject *module, PyObject *arguments)
{
    (void)module;
    PyObject *arrays[2];
    Py_buffer views[2];
    const Py_ssize_t sizes[2] = {4, 4};
    if (!PyArg_ParseTuple(arguments, "OO", &arrays[0], &arrays[1]) || !take(arrays, views, sizes, 2))
        return NULL;
    uint8_t *open = calloc(length(&views[0]) + 1, 1);
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
    {"keep", keep, METH_VARARGS, "See `asr.decoding.passing.compiled`."},
    {"pass_tokens", pass_tokens, METH_VARARGS, "See `asr.decoding.passing.walk`."},
    {"best_path", best_path, METH_VARARGS, "See `asr.decoding.passing.best_path`."},
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
