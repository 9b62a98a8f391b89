/* The best paths through a segment as asr/decoding/nbest.py specifies them, with the same results
 * to the last bit: forward through its frames, with a note of every way that the beams have left,
 * then back from the last one.
 */

#include "_passing.h"

enum { LOOKED_UP = 1 << 12 };

typedef struct {
    uint32_t key;
    float blank, phone;
    int32_t stayed;       /* which hypothesis of the frame before it was, or NOWHERE */
    size_t first, behind; /* of the arrivals at its phone */
} Row;

typedef struct {
    float cost;
    int32_t before; /* row of the frame before; for those behind the first ones a candidate */
    uint32_t arc;
} Candidate;

typedef struct {
    size_t rows, candidates; /* the first of each */
    size_t first_ways;       /* see Work */
    float best;              /* what the best way has cost in this frame */
} Frame;

/* A way back from the last frame to a place: twice a row's number, and one more if its token still
 * lasts. */
typedef struct {
    double cost, total; /* from there on, and of the best path that goes on so, both above the best */
    uint64_t said;      /* hash of the words from there on */
    int32_t place;
    int32_t step;      /* the last that was taken */
    int32_t candidate; /* that it came by in this frame, or NOWHERE */
    uint32_t number;
} Back;

typedef struct {
    const Graph *graph;
    Words *words;
    const uint64_t *hashes;
    size_t known; /* words that have one */
    ARRAY(Row) rows;
    ARRAY(Candidate) candidates;
    ARRAY(int32_t) arrivals; /* candidates, by the row that they lead to */
    ARRAY(Frame) frames;     /* the first is what was before the first frame */
    ARRAY(Back) ways;
    ARRAY(Back) found; /* ways in the frame before */
    ARRAY(double) totals;
    ARRAY(Step) steps; /* candidates and frames; the step before is that of the frame behind */
    double score;      /* of the best path */
    double spent;
    uint32_t arcs[LOOKED_UP], labels[LOOKED_UP]; /* what was read: by hash of the arc, arc and 1 */
} Trellis;

static void free_trellis(Trellis *trellis)
{
    free(trellis->rows.at);
    free(trellis->candidates.at);
    free(trellis->arrivals.at);
    free(trellis->frames.at);
    free(trellis->ways.at);
    free(trellis->found.at);
    free(trellis->totals.at);
    free(trellis->steps.at);
}

/* The label that an arc gives, or 0. */
static uint32_t label_at(Trellis *trellis, uint32_t arc)
{
    uint32_t place = arc % LOOKED_UP;
    if (!gives(trellis->graph, arc))
        return 0;
    if (trellis->arcs[place] != arc + 1) {
        trellis->arcs[place] = arc + 1;
        trellis->labels[place] = label_of(trellis->words, arc);
    }
    return trellis->labels[place];
}

static float place_cost(const Row *rows, int32_t place)
{
    return place % 2 ? rows[place / 2].phone : rows[place / 2].blank;
}

/* Notes how the hypotheses came about that are alive now. */
static bool note(Trellis *trellis, const Work *work, float best)
{
    size_t old = trellis->frames.count ? trellis->frames.at[trellis->frames.count - 1].rows : 0;
    Frame frame = {trellis->rows.count, trellis->candidates.count, work->first_ways, best};
    if (!ROOM(trellis->frames, trellis->frames.count + 1) ||
        !ROOM(trellis->rows, frame.rows + work->alive.count) ||
        !ROOM(trellis->candidates, frame.candidates + work->ways.count) ||
        !ROOM(trellis->arrivals, trellis->arrivals.count + work->ways.count))
        return false;
    trellis->frames.at[trellis->frames.count++] = frame;
    for (size_t i = 0; i < work->ways.count; i++) {
        const Way *way = &work->ways.at[i];
        trellis->candidates.at[trellis->candidates.count++] =
            (Candidate){way->cost, way->before, way->arc};
    }
    size_t j = 0;
    const Row *before = trellis->rows.at + old, *end = trellis->rows.at + frame.rows;
    for (size_t i = 0, at = 0; i < work->alive.count; i++) {
        const Hypothesis *h = &work->alive.at[i];
        while (before + at < end && before[at].key < h->key)
            at++;
        bool stayed = before + at < end && before[at].key == h->key;
        Row row = {h->key, h->blank, h->phone, stayed ? (int32_t)at : NOWHERE,
                   trellis->arrivals.count, 0};
        for (; j < work->ways.count && work->order.at[j] >> 32 <= h->key; j++)
            if (work->order.at[j] >> 32 == h->key)
                trellis->arrivals.at[trellis->arrivals.count++] = (int32_t)work->order.at[j];
        row.behind = trellis->arrivals.count;
        trellis->rows.at[trellis->rows.count++] = row;
    }
    return true;
}

/* Goes through the frames. */
static Status forward(Trellis *trellis, Work *work, const Py_buffer *costs, double beam,
                      size_t most)
{
    if (!note(trellis, work, 0))
        return NO_MEMORY;
    for (Py_ssize_t t = 0; t < costs->shape[0]; t++) {
        const float *now = (const float *)costs->buf + t * costs->shape[1];
        for (size_t i = 0; i < work->alive.count; i++)
            work->alive.at[i].after_blank = work->alive.at[i].after_phone = (int32_t)i;
        Status status = advance(work, trellis->graph, now, (uint32_t)costs->shape[1], (float)beam);
        work->steps.count = 0;
        if (status == FINE)
            status = recombine(work, trellis->graph->count, 0, 0, beam, most);
        if (status != FINE)
            return status;
        float best = INFINITY;
        for (size_t i = 0; i < work->stay.count; i++)
            best = lesser(best, cost_of(&work->stay.at[i]));
        for (size_t i = 0; i < work->ways.count; i++)
            best = lesser(best, work->ways.at[i].cost);
        trellis->spent += best;
        if (!note(trellis, work, best))
            return NO_MEMORY;
    }
    return FINE;
}

/* The ways back before the first step, if to end in a state costs no more than `cap`. */
static bool ends(Trellis *trellis, float cap, double within, double *limit)
{
    const Row *rows = trellis->rows.at + trellis->frames.at[trellis->frames.count - 1].rows;
    size_t count = (size_t)(trellis->rows.at + trellis->rows.count - rows);
    float best = INFINITY;
    if (!ROOM(trellis->ways, 2 * count))
        return false;
#define FINAL(row) final_cost(trellis->graph, (row).key >> TOKEN_BITS, cap)
    for (size_t i = 0; i < count; i++)
        best = lesser(best, lesser(rows[i].blank + FINAL(rows[i]), rows[i].phone + FINAL(rows[i])));
    *limit = best + within;
    trellis->score = -trellis->spent - best;
    for (int32_t place = 0; place < 2 * (int32_t)count; place++) {
        float cost = FINAL(rows[place / 2]), total = place_cost(rows, place) + cost;
        if (total <= *limit && total < INFINITY)
            trellis->ways.at[trellis->ways.count++] =
                (Back){cost, total, 0, place, NOWHERE, NOWHERE, 0};
    }
    return true;
}

/* The row that a candidate came from. */
static int32_t owner(const Frame *frame, const Candidate *candidates, int32_t candidate)
{
    while (candidate >= (int32_t)frame->first_ways)
        candidate = candidates[candidate].before;
    return candidates[candidate].before;
}

/* Puts the words of a candidate before what was said. */
static uint64_t said(Trellis *trellis, const Frame *frame, int32_t candidate, uint64_t words)
{
    const Candidate *candidates = trellis->candidates.at + frame->candidates;
    while (true) {
        uint32_t label = label_at(trellis, candidates[candidate].arc);
        if (label > 0 && label < trellis->known)
            words = words * 0x9E3779B97F4A7C15u + trellis->hashes[label];
        if (candidate < (int32_t)frame->first_ways)
            return words;
        candidate = candidates[candidate].before;
    }
}

/* A way goes on back to a place, if that does not cost more than `limit` in all. */
static bool go_on(Trellis *trellis, const Row *before, const Back *way, int32_t place, float price,
                  int32_t candidate, double limit)
{
    double cost = way->cost + price, total = cost + place_cost(before, place);
    if (!(total <= limit))
        return true;
    if (!ROOM(trellis->found, trellis->found.count + 1))
        return false;
    uint32_t number = (uint32_t)trellis->found.count;
    trellis->found.at[trellis->found.count++] =
        (Back){cost, total, way->said, place, way->step, candidate, number};
    return true;
}

/* All ways go on over a frame, in the order that nbest.py has. */
static bool go_back(Trellis *trellis, size_t number, const float *costs, double limit)
{
    const Frame *frame = &trellis->frames.at[number + 1];
    const Row *rows = trellis->rows.at + frame->rows;
    const Row *before = trellis->rows.at + trellis->frames.at[number].rows;
    const Candidate *candidates = trellis->candidates.at + frame->candidates;
    bool fine = true;
    trellis->found.count = 0;
    for (int held = 0; held < 2; held++)
        for (size_t i = 0; fine && i < trellis->ways.count; i++) {
            const Back *way = &trellis->ways.at[i];
            const Row *row = &rows[way->place / 2];
            if (way->place % 2 == 0 && row->stayed != NOWHERE)
                fine = go_on(trellis, before, way, 2 * row->stayed + held,
                             costs[BLANK] - frame->best, NOWHERE, limit);
        }
    for (size_t i = 0; fine && i < trellis->ways.count; i++) {
        const Back *way = &trellis->ways.at[i];
        const Row *row = &rows[way->place / 2];
        if (way->place % 2 == 1 && row->stayed != NOWHERE)
            fine = go_on(trellis, before, way, 2 * row->stayed + 1,
                         costs[row->key & TOKEN] - frame->best, NOWHERE, limit);
    }
    for (size_t i = 0; fine && i < trellis->ways.count; i++) {
        const Back *way = &trellis->ways.at[i];
        const Row *row = &rows[way->place / 2];
        for (size_t j = row->first; fine && way->place % 2 == 1 && j < row->behind; j++) {
            int32_t candidate = trellis->arrivals.at[j];
            int32_t from = owner(frame, candidates, candidate);
            bool again = (before[from].key & TOKEN) == (row->key & TOKEN); /* after a blank only */
            float spent = before[from].blank;
            if (!again)
                spent = lesser(before[from].phone, spent);
            float price = candidates[candidate].cost - spent - frame->best;
            fine = go_on(trellis, before, way, 2 * from, price, candidate, limit) &&
                   (again ||
                    go_on(trellis, before, way, 2 * from + 1, price, candidate, limit));
        }
    }
    for (size_t i = 0; i < trellis->found.count; i++) {
        Back *way = &trellis->found.at[i];
        if (way->candidate != NOWHERE)
            way->said = said(trellis, frame, way->candidate, way->said);
    }
    return fine;
}

#define ORDER(a, b) ((a) > (b)) - ((a) < (b))

static int by_words(const void *one, const void *other)
{
    const Back *a = one, *b = other;
    int order = ORDER(a->place, b->place);
    order = order ? order : ORDER(a->said, b->said);
    order = order ? order : ORDER(a->total, b->total);
    return order ? order : ORDER(a->number, b->number);
}

static int by_place(const void *one, const void *other)
{
    const Back *a = one, *b = other;
    int order = ORDER(a->place, b->place);
    order = order ? order : ORDER(a->total, b->total);
    return order ? order : ORDER(a->said, b->said);
}

static int by_total(const void *one, const void *other)
{
    const Back *a = one, *b = other;
    int order = ORDER(a->total, b->total);
    return order ? order : ORDER(a->number, b->number);
}

static int by_size(const void *one, const void *other)
{
    return ORDER(*(const double *)one, *(const double *)other);
}

/* Of those at one place that have said the same the cheapest, of each place n, and `many` in all. */
static bool choose(Trellis *trellis, size_t n, size_t many)
{
    Back *found = trellis->found.at;
    size_t count = 0, rank = 0;
    if (trellis->found.count == 0)
        return true;
    qsort(found, trellis->found.count, sizeof *found, by_words);
    for (size_t i = 0; i < trellis->found.count; i++)
        if (i == 0 || found[i].place != found[count - 1].place ||
            found[i].said != found[count - 1].said)
            found[count++] = found[i];
    qsort(found, count, sizeof *found, by_place);
    trellis->found.count = 0;
    int32_t place = NOWHERE;
    for (size_t i = 0; i < count; i++) {
        rank = found[i].place == place ? rank + 1 : 0;
        place = found[i].place;
        if (rank < n)
            found[trellis->found.count++] = found[i];
    }
    count = trellis->found.count;
    if (count <= many)
        return true;
    if (!ROOM(trellis->totals, count))
        return false;
    for (size_t i = 0; i < count; i++)
        trellis->totals.at[i] = found[i].total;
    qsort(trellis->totals.at, count, sizeof *trellis->totals.at, by_size);
    double limit = trellis->totals.at[many];
    size_t as_much = many;
    while (as_much > 0 && trellis->totals.at[as_much - 1] == limit)
        as_much--;
    as_much = many - as_much; /* so many that cost the limit are among the first */
    trellis->found.count = 0;
    for (size_t i = 0; i < count; i++)
        if (found[i].total < limit || (found[i].total == limit && as_much && as_much--))
            found[trellis->found.count++] = found[i];
    return true;
}

/* Walks back through all frames; the ways are those to the first then, the best first. */
static Status backward(Trellis *trellis, const Py_buffer *costs, double limit, size_t n, size_t many)
{
    for (size_t number = (size_t)costs->shape[0]; number-- > 0;) {
        const float *now = (const float *)costs->buf + (Py_ssize_t)number * costs->shape[1];
        if (!go_back(trellis, number, now, limit) || !choose(trellis, n, many) ||
            !ROOM(trellis->ways, trellis->found.count) ||
            !ROOM(trellis->steps, trellis->steps.count + trellis->found.count) ||
            trellis->steps.count + trellis->found.count > INT32_MAX)
            return NO_MEMORY;
        trellis->ways.count = trellis->found.count;
        for (size_t i = 0; i < trellis->found.count; i++) {
            Back way = trellis->found.at[i];
            if (way.candidate != NOWHERE) {
                trellis->steps.at[trellis->steps.count] =
                    (Step){way.step, way.candidate, (int32_t)number};
                way.step = (int32_t)trellis->steps.count++;
            }
            trellis->ways.at[i] = way;
        }
    }
    for (size_t i = 0; i < trellis->ways.count; i++) {
        Back *way = &trellis->ways.at[i];
        way->total = way->cost + place_cost(trellis->rows.at, way->place);
        way->number = (uint32_t)i;
    }
    if (trellis->ways.count)
        qsort(trellis->ways.at, trellis->ways.count, sizeof *trellis->ways.at, by_total);
    return FINE;
}

typedef struct {
    ARRAY(Step) steps; /* each with the label that its arc gives in the place of the one before */
    ARRAY(int64_t) ends;
    ARRAY(double) scores;
} Paths;

/* Adds a step; false if there is no room. */
static bool add_step(Trellis *trellis, Paths *paths, uint32_t arc, int32_t frame)
{
    uint32_t label = label_at(trellis, arc);
    if (!ROOM(paths->steps, paths->steps.count + 1))
        return false;
    paths->steps.at[paths->steps.count++] = (Step){(int32_t)label, (int32_t)arc, frame};
    return true;
}

/* Turns the steps of a path behind `from` around. */
static void turn(Paths *paths, size_t from)
{
    for (size_t to = paths->steps.count; from + 1 < to; from++) {
        Step step = paths->steps.at[from];
        paths->steps.at[from] = paths->steps.at[--to];
        paths->steps.at[to] = step;
    }
}

/* Adds the arcs of a way from the first frame on, and before them those that lead to its place. */
static Status add_path(Trellis *trellis, Paths *paths, const Back *way, const Py_buffer *alive,
                       const Py_buffer *history)
{
    const Step *known = history->buf;
    const Hypothesis *begun = (const Hypothesis *)alive->buf + way->place / 2;
    size_t from = paths->steps.count;
    int32_t step = way->place % 2 ? begun->after_phone : begun->after_blank;
    for (; step != NOWHERE; step = known[step].before) {
        if (step < 0 || step >= (int64_t)steps_of(history) || known[step].before >= step)
            return DAMAGED;
        if (!add_step(trellis, paths, (uint32_t)known[step].arc, 0))
            return NO_MEMORY;
    }
    turn(paths, from);
    for (step = way->step; step != NOWHERE; step = trellis->steps.at[step].before) {
        Step taken = trellis->steps.at[step];
        const Frame *frame = &trellis->frames.at[taken.frame + 1];
        const Candidate *candidates = trellis->candidates.at + frame->candidates;
        int32_t candidate = taken.arc;
        from = paths->steps.count;
        if (!add_step(trellis, paths, candidates[candidate].arc, taken.frame))
            return NO_MEMORY;
        while (candidate >= (int32_t)frame->first_ways) {
            candidate = candidates[candidate].before;
            if (!add_step(trellis, paths, candidates[candidate].arc, taken.frame))
                return NO_MEMORY;
        }
        turn(paths, from);
    }
    if (!ROOM(paths->ends, paths->ends.count + 1) || !ROOM(paths->scores, paths->scores.count + 1))
        return NO_MEMORY;
    paths->ends.at[paths->ends.count++] = (int64_t)paths->steps.count;
    paths->scores.at[paths->scores.count++] = -trellis->spent - way->total;
    return FINE;
}

/* The paths of the first n ways that have said different words. */
static Status read_paths(Trellis *trellis, Paths *paths, size_t n, const Py_buffer *alive,
                         const Py_buffer *history)
{
    size_t different = 0;
    for (size_t i = 0; i < trellis->ways.count && different < n; i++) {
        Back way = trellis->ways.at[i];
        bool new = true;
        for (size_t j = 0; new && j < different; j++)
            new = trellis->ways.at[j].said != way.said;
        if (!new)
            continue;
        trellis->ways.at[different++] = way;
        Status status = add_path(trellis, paths, &way, alive, history);
        if (status != FINE)
            return status;
    }
    return FINE;
}

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

static PyObject *as_tuple(const Trellis *trellis, const Paths *paths)
{
    PyObject *columns = PyTuple_New(6), *score = PyFloat_FromDouble(trellis->score);
    Py_ssize_t column = 0;
    if (columns == NULL || score == NULL) {
        Py_XDECREF(columns);
        Py_XDECREF(score);
        return NULL;
    }
    PyTuple_SET_ITEM(columns, column++, score);
    COLUMN(int64_t, paths->ends, );
    COLUMN(double, paths->scores, );
    COLUMN(int32_t, paths->steps, .arc);
    COLUMN(int32_t, paths->steps, .frame);
    COLUMN(uint32_t, paths->steps, .before);
    return columns;
}

PyObject *best_paths(PyObject *module, PyObject *arguments)
{
    (void)module;
    enum { MORE = ARRAYS, HASHES, HISTORY, ALL };
    const Py_ssize_t sizes[ALL] = {SIZES, 4, 8, 4};
    PyObject *arrays[ALL];
    Py_buffer views[ALL];
    Words words = {0};
    double beam, within, cap;
    Py_ssize_t most, n, many;
    if (!PyArg_ParseTuple(arguments, "OOO(iLLO)OOdndndn", &arrays[ARCS], &arrays[COSTS],
                          &arrays[ALIVE], &words.file, &words.begin, &words.size, &arrays[MORE],
                          &arrays[HASHES], &arrays[HISTORY], &beam, &most, &cap, &n, &within,
                          &many) ||
        !take(arrays, views, sizes, ALL))
        return NULL;
    Work work = {0};
    Graph graph;
    words.behind = views[MORE].buf;
    words.more = length(&views[MORE]);
    Trellis trellis = {.graph = &graph, .words = &words, .hashes = views[HASHES].buf,
                       .known = length(&views[HASHES])};
    Paths paths = {0};
    const Py_buffer *costs = &views[COSTS];
    Status status = DAMAGED;
    if (costs->ndim == 2 && most > 0 && n > 0 && many > 0 && length(&views[ALIVE]) > 0) {
        double limit = INFINITY;
        Py_BEGIN_ALLOW_THREADS;
        status = begin(&work, &graph, views, (uint32_t)Py_MIN(costs->shape[1], TOKEN + 1));
        if (status == FINE)
            status = forward(&trellis, &work, costs, beam, (size_t)most);
        if (status == FINE && !ends(&trellis, (float)cap, within, &limit))
            status = NO_MEMORY;
        if (status == FINE)
            status = backward(&trellis, costs, limit, (size_t)n, (size_t)many);
        if (status == FINE)
            status = read_paths(&trellis, &paths, (size_t)n, &views[ALIVE],
                                &views[HISTORY]);
        status = as_read(&graph, &words, status);
        Py_END_ALLOW_THREADS;
    }
    let_go(views, ALL);
    PyObject *columns = status == FINE ? as_tuple(&trellis, &paths) : failed(status);
    free_work(&work);
    free_trellis(&trellis);
    free(paths.steps.at);
    free(paths.ends.at);
    free(paths.scores.at);
    return columns;
}
