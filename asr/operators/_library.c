/* Operators for onnxruntime, in the domain `rill`; `asr.operators` says what they compute.
 *
 * onnxruntime opens this file as a library of operators; for Python it is a module that says which
 * kernels this processor has. Where it has none nothing is registered, and onnxruntime runs what a
 * model itself says that these operators are made of. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "_kernels.h"
#include "_onnxruntime.h"

static const Interface *ort;
static const Kernel *kernel; /* the best that there is, if any, once Python has imported this */

enum { MOST_AXES = 8 };
enum { TAPS = 3, STRIDE = 2 }; /* of the convolutions that take half of the frames */

typedef struct {
    void *data;
    int64_t sizes[MOST_AXES];
    size_t rank, count; /* axes, elements */
} Tensor;

#define TRY(call)                  \
    do {                           \
        Status *status_ = (call);  \
        if (status_ != NULL)       \
            return status_;        \
    } while (0)

static Status *wrong(const char *message) { return ort->create_status(INVALID_ARGUMENT, message); }

static Status *no_memory(void) { return ort->create_status(FAILURE, "no memory"); }

static Status *get_tensor(const Value *value, Tensor *out)
{
    TRY(ort->data((Value *)value, &out->data)); /* is only read */
    Shape *shape;
    TRY(ort->shape(value, &shape));
    Status *status = ort->rank(shape, &out->rank);
    if (status == NULL && out->rank > MOST_AXES)
        status = wrong("a tensor has more than 8 axes");
    if (status == NULL)
        status = ort->sizes(shape, out->sizes, out->rank);
    ort->release_shape(shape);
    out->count = 1;
    for (size_t axis = 0; status == NULL && axis < out->rank; axis++)
        out->count *= (size_t)out->sizes[axis];
    return status;
}

static Status *get_inputs(const Context *context, Tensor *inputs, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const Value *value;
        TRY(ort->input(context, i, &value));
        TRY(get_tensor(value, inputs + i));
    }
    return NULL;
}

static Status *get_output(Context *context, size_t place, const Tensor *like, int64_t last,
                          float **out)
{
    int64_t sizes[MOST_AXES];
    memcpy(sizes, like->sizes, sizeof sizes);
    sizes[like->rank - 1] = last;
    Value *value;
    TRY(ort->output(context, place, sizes, like->rank, &value));
    return ort->data(value, (void **)out);
}

static void copy(float *to, const float *from, size_t count)
{
    if (count)
        memcpy(to, from, count * sizeof *to);
}

static size_t last_size(const Tensor *x) { return x->rank ? (size_t)x->sizes[x->rank - 1] : 0; }

/* Whether x is [..., each], or of several groups [..., groups, each]. */
static bool in_groups(const Tensor *x, size_t groups, size_t each)
{
    return x->rank > 0 && last_size(x) == each &&
           (groups == 1 || (x->rank > 1 && (size_t)x->sizes[x->rank - 2] == groups));
}

/* From four inputs of an operator, with a scale for each column or one for each group. */
static Status *get_weights(const Tensor *first, bool columns, Weights *out)
{
    const Tensor *weight = first, *sums = first + 1, *scale = first + 2, *bias = first + 3;
    if (weight->rank != 5 || weight->sizes[0] < 1 || weight->sizes[3] != OUTPUTS ||
        weight->sizes[4] != INPUTS)
        return wrong("weights are not [groups, blocks, quads, 16, 4]");
    size_t groups = (size_t)weight->sizes[0];
    size_t blocks = (size_t)weight->sizes[1], quads = (size_t)weight->sizes[2];
    size_t outputs = bias->count / groups;
    if (bias->count != groups * outputs || blocks != (outputs + OUTPUTS - 1) / OUTPUTS)
        return wrong("the bias does not fit the weights");
    if (sums->count != groups * blocks * OUTPUTS)
        return wrong("the sums do not fit the weights");
    if (scale->count != groups * (columns ? outputs : 1))
        return wrong("the scale does not fit the weights");
    *out = (Weights){weight->data, sums->data, scale->data,    bias->data, groups,
                     blocks,       quads,      quads * INPUTS, outputs};
    return NULL;
}

static Status *get_room(const Weights *w, size_t rows, Room *out)
{
    size_t products = rows * w->blocks * OUTPUTS, floats = rows + 3 * w->inputs;
    out->y = malloc(products * sizeof *out->y + floats * sizeof(float) + rows * w->inputs + 1);
    if (out->y == NULL)
        return no_memory();
    out->sizes = (float *)(out->y + products);
    out->gates = out->sizes + rows;
    out->normed = out->gates + 2 * w->inputs;
    out->x = (uint8_t *)(out->normed + w->inputs);
    return NULL;
}

static Status *CALL linear(void *unused, Context *context)
{
    (void)unused;
    Tensor in[5], *x = in;
    Weights w;
    Room room;
    float *y;
    TRY(get_inputs(context, in, 5));
    TRY(get_weights(in + 1, true, &w));
    if (!in_groups(x, w.groups, w.inputs))
        return wrong("the input does not fit the weights");
    TRY(get_output(context, 0, x, (int64_t)w.outputs, &y));
    TRY(get_room(&w, ROWS, &room));
    size_t rows = w.inputs ? x->count / (w.groups * w.inputs) : 0;
    kernel->linear(&w, NULL, x->data, rows, &room, y);
    free(room.y);
    return NULL;
}

/* The states of a GRU, and the last one. */
static Status *run_gru(const Weights *w, const float *a, const Tensor *state, size_t frames,
                       float *states, float *end)
{
    size_t size = w->groups * w->inputs, streams = size ? state->count / size : 0;
    Room room;
    TRY(get_room(w, streams, &room));
    kernel->gru(w, a, state->data, frames, streams, &room, states);
    free(room.y);
    copy(end, frames ? states + (frames - 1) * state->count : state->data, state->count);
    return NULL;
}

static Status *CALL gru(void *unused, Context *context)
{
    (void)unused;
    Tensor in[6], *a = in, *state = in + 1;
    Weights w;
    float *states, *end;
    TRY(get_inputs(context, in, 6));
    TRY(get_weights(in + 2, false, &w));
    if (w.outputs != 3 * w.inputs || !in_groups(state, w.groups, w.inputs))
        return wrong("the weights are not those of a GRU, or do not fit the state");
    if (a->rank != state->rank + 1 || last_size(a) != w.outputs ||
        memcmp(a->sizes + 1, state->sizes, (state->rank - 1) * sizeof *a->sizes) != 0)
        return wrong("input and state are of other streams");
    TRY(get_output(context, 0, a, (int64_t)w.inputs, &states));
    TRY(get_output(context, 1, state, (int64_t)w.inputs, &end));
    return run_gru(&w, a->data, state, (size_t)a->sizes[0], states, end);
}

static Status *CALL gru_layer(void *unused, Context *context)
{
    (void)unused;
    Tensor in[12], *x = in, *state = in + 1, *scale = in + 2, *bias = in + 3;
    Weights of_input, of_state;
    Room room;
    float *y, *end;
    TRY(get_inputs(context, in, 12));
    TRY(get_weights(in + 4, true, &of_input));
    TRY(get_weights(in + 8, false, &of_state));
    size_t groups = of_state.groups, each = of_state.inputs, size = groups * each;
    if (of_input.groups != groups || of_input.inputs != each || of_input.outputs != 3 * each ||
        of_state.outputs != 3 * each)
        return wrong("the weights are not those of a GRU");
    if (x->rank != 3 || last_size(x) != size || scale->count != size || bias->count != size)
        return wrong("input or norm do not fit the weights");
    if (last_size(state) != size || state->count != (size_t)x->sizes[1] * size)
        return wrong("input and state are of other streams");
    TRY(get_output(context, 0, x, (int64_t)size, &y));
    TRY(get_output(context, 1, state, (int64_t)size, &end));
    Norm norm = {scale->data, bias->data};
    float *a = malloc(3 * x->count * sizeof *a + 1);
    Status *status = a == NULL ? no_memory() : get_room(&of_input, ROWS, &room);
    if (status == NULL) {
        kernel->linear(&of_input, &norm, x->data, size ? x->count / size : 0, &room, a);
        free(room.y);
        status = run_gru(&of_state, a, state, (size_t)x->sizes[0], y, end);
    }
    for (size_t i = 0; status == NULL && i < x->count; i++)
        y[i] += ((const float *)x->data)[i];
    free(a);
    return status;
}

static Status *CALL log_mel(void *unused, Context *context)
{
    (void)unused;
    Tensor in[8], *tail = in, *audio = in + 1, *window = in + 2, *mels = in + 5;
    Tensor *mean = in + 6, *deviation = in + 7;
    float *features, *next;
    TRY(get_inputs(context, in, 8));
    if (tail->rank != 2 || audio->rank != 2 || tail->sizes[0] != audio->sizes[0])
        return wrong("audio is not [streams, samples], or the tail is of other streams");
    size_t streams = (size_t)audio->sizes[0], samples = last_size(audio);
    if (last_size(tail) != TAIL || samples % HOP || window->count != HALF)
        return wrong("audio is not whole hops, or tail or window are of another size");
    if (mels->rank != 2 || mels->sizes[0] >= FFT / 2 || mels->sizes[1] > MOST_MELS ||
        mean->count != last_size(mels) || deviation->count != last_size(mels))
        return wrong("there are too many filters, or mean and deviation do not fit them");
    Filters filters = {window->data, mels->data, mean->data, deviation->data,
                       (size_t)mels->sizes[0], last_size(mels)};
    size_t frames = samples / HOP, length = TAIL + samples;
    Tensor like = {.rank = 3, .sizes = {(int64_t)frames, (int64_t)streams}};
    TRY(get_output(context, 0, &like, (int64_t)filters.count, &features));
    TRY(get_output(context, 1, tail, TAIL, &next));
    float *whole = malloc(streams * length * sizeof *whole + 1);
    if (whole == NULL)
        return no_memory();
    for (size_t stream = 0; stream < streams; stream++) {
        float *begin = whole + stream * length;
        copy(begin, (const float *)tail->data + stream * TAIL, TAIL);
        copy(begin + TAIL, (const float *)audio->data + stream * samples, samples);
        copy(next + stream * TAIL, begin + samples, TAIL);
    }
    kernel->log_mel(&filters, whole, streams, length, frames, features);
    free(whole);
    return NULL;
}

/* x [frames, streams, channels] behind the frames that a state [streams, channels, count] holds, in
 * memory of its own; the last of them become the next state, which is output 1. */
static Status *get_behind(Context *context, const Tensor *x, const Tensor *state, float **out,
                          size_t *count)
{
    if (x->rank != 3 || state->rank != 3 || state->sizes[0] != x->sizes[1] ||
        state->sizes[1] != x->sizes[2])
        return wrong("input and state are of other streams or channels");
    *count = last_size(state);
    size_t frame = (size_t)(x->sizes[1] * x->sizes[2]);
    float *next;
    TRY(get_output(context, 1, state, (int64_t)*count, &next));
    *out = malloc((*count * frame + x->count) * sizeof **out + 1);
    if (*out == NULL)
        return no_memory();
    const float *before = state->data;
    for (size_t t = 0; t < *count; t++)
        for (size_t i = 0; i < frame; i++)
            (*out)[t * frame + i] = before[i * *count + t];
    copy(*out + *count * frame, x->data, x->count);
    for (size_t t = 0; t < *count; t++)
        for (size_t i = 0; i < frame; i++)
            next[i * *count + t] = (*out)[x->count + t * frame + i];
    return NULL;
}

static Status *CALL unfold(void *unused, Context *context)
{
    (void)unused;
    Tensor in[2], *x = in, *state = in + 1;
    float *y, *whole;
    size_t count;
    TRY(get_inputs(context, in, 2));
    if (x->rank != 3 || x->sizes[0] % STRIDE || last_size(state) != TAPS - STRIDE)
        return wrong("the frames are not [2 T, streams, channels] behind one");
    size_t frames = (size_t)x->sizes[0] / STRIDE, streams = (size_t)x->sizes[1];
    size_t channels = last_size(x);
    Tensor like = *x;
    like.sizes[0] = (int64_t)frames;
    TRY(get_output(context, 0, &like, (int64_t)(TAPS * channels), &y));
    TRY(get_behind(context, x, state, &whole, &count));
    for (size_t t = 0; t < frames; t++)
        for (size_t stream = 0; stream < streams; stream++)
            for (size_t tap = 0; tap < TAPS; tap++, y += channels)
                copy(y, whole + ((STRIDE * t + tap) * streams + stream) * channels, channels);
    free(whole);
    return NULL;
}

static Status *CALL row_convolution(void *unused, Context *context)
{
    (void)unused;
    Tensor in[3], *x = in, *state = in + 1, *weight = in + 2;
    float *y, *whole;
    size_t count;
    TRY(get_inputs(context, in, 3));
    size_t channels = last_size(x), taps = last_size(state) + 1;
    if (x->rank != 3 || weight->rank != 2 || (size_t)weight->sizes[0] != taps ||
        last_size(weight) != channels)
        return wrong("the weights do not fit input and state");
    TRY(get_output(context, 0, x, (int64_t)channels, &y));
    TRY(get_behind(context, x, state, &whole, &count));
    const float *row = whole;
    size_t frame = (size_t)x->sizes[1] * channels;
    for (size_t rows = channels ? x->count / channels : 0; rows > 0; rows--) {
        for (size_t tap = 0; tap < taps; tap++) {
            const float *factor = (const float *)weight->data + tap * channels;
            for (size_t i = 0; i < channels; i++)
                y[i] = (tap ? y[i] : 0) + factor[i] * row[tap * frame + i];
        }
        row += channels;
        y += channels;
    }
    free(whole);
    return NULL;
}

typedef struct {
    Operator base; /* what onnxruntime knows of it */
    const char *name;
    size_t inputs, outputs;
    int types[12]; /* of the inputs */
} Own;

static const Own *own(const Operator *self) { return (const Own *)self; }
static const char *CALL own_name(const Operator *self) { return own(self)->name; }
static size_t CALL own_inputs(const Operator *self) { return own(self)->inputs; }
static size_t CALL own_outputs(const Operator *self) { return own(self)->outputs; }
static int CALL own_type(const Operator *self, size_t place) { return own(self)->types[place]; }
static int CALL a_float(const Operator *self, size_t place)
{
    (void)self, (void)place;
    return FLOAT;
}
static int CALL the_default(const Operator *self, size_t place)
{
    (void)self, (void)place;
    return 0;
}
static const char *CALL on_the_cpu(const Operator *self)
{
    (void)self;
    return "CPUExecutionProvider";
}
static Status *CALL create(const Operator *self, const Interface *interface, const void *info,
                           void **out)
{
    (void)self, (void)interface, (void)info;
    *out = NULL;
    return NULL;
}
static void CALL destroy(void *nothing) { (void)nothing; }

#define BASE(function)                                                                        \
    {                                                                                         \
        .version = VERSION, .name = own_name, .provider = on_the_cpu, .inputs = own_inputs,   \
        .input_type = own_type, .input_need = the_default, .input_memory = the_default,       \
        .outputs = own_outputs, .output_type = a_float, .output_need = the_default,           \
        .create_2 = create, .compute_2 = function, .destroy = destroy,                        \
    }

#define FLOATS {FLOAT, FLOAT, FLOAT, FLOAT, FLOAT, FLOAT, FLOAT, FLOAT}

static const Own OPERATORS[] = {
    {BASE(linear), "Int8Linear", 5, 1, {FLOAT, INT8, INT32, FLOAT, FLOAT}},
    {BASE(gru), "Int8GRU", 6, 2, {FLOAT, FLOAT, INT8, INT32, FLOAT, FLOAT}},
    {BASE(gru_layer), "Int8GRULayer", 12, 2,
     {FLOAT, FLOAT, FLOAT, FLOAT, INT8, INT32, FLOAT, FLOAT, INT8, INT32, FLOAT, FLOAT}},
    {BASE(log_mel), "LogMel", 8, 2, FLOATS},
    {BASE(unfold), "Unfold", 2, 2, FLOATS},
    {BASE(row_convolution), "RowConvolution", 3, 2, FLOATS},
};

static const Kernel *best(void)
{
    const Kernel *one = KERNELS;
    while (one->name != NULL && !one->there())
        one++;
    return one->name ? one : NULL;
}

/* What onnxruntime calls when a session is given this library. */
#ifdef _WIN32
__declspec(dllexport)
#endif
Status *CALL RegisterCustomOps(Options *options, const Base *base);

Status *CALL RegisterCustomOps(Options *options, const Base *base)
{
    static Domain *domain; /* for all sessions, as long as the process lives */
    ort = base->of_version(VERSION);
    if (kernel == NULL || ort == NULL)
        return NULL;
    if (domain == NULL) {
        TRY(ort->create_domain("rill", &domain));
        for (size_t i = 0; i < sizeof OPERATORS / sizeof *OPERATORS; i++)
            TRY(ort->add_operator(domain, &OPERATORS[i].base));
    }
    return ort->add_domain(options, domain);
}

static PyObject *kernels(PyObject *self, PyObject *unused)
{
    (void)self, (void)unused;
    PyObject *names = PyList_New(0);
    for (const Kernel *one = KERNELS; names != NULL && one->name != NULL; one++) {
        if (!one->there())
            continue;
        PyObject *name = PyUnicode_FromString(one->name);
        if (name == NULL || PyList_Append(names, name) != 0)
            Py_CLEAR(names);
        Py_XDECREF(name);
    }
    return names;
}

static PyObject *use(PyObject *self, PyObject *name)
{
    (void)self;
    const char *wanted = PyUnicode_AsUTF8(name);
    if (wanted == NULL)
        return NULL;
    for (const Kernel *one = KERNELS; one->name != NULL; one++)
        if (strcmp(one->name, wanted) == 0 && one->there()) {
            kernel = one;
            Py_RETURN_NONE;
        }
    return PyErr_Format(PyExc_ValueError, "this processor has no kernel %R", name);
}

static PyMethodDef METHODS[] = {
    {"kernels", kernels, METH_NOARGS, "Names of the kernels that this processor has, best first."},
    {"use", use, METH_O, "Compute with one of them from now on, in all sessions."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef MODULE = {
    PyModuleDef_HEAD_INIT, .m_name = "_library", .m_size = -1, .m_methods = METHODS,
};

PyMODINIT_FUNC PyInit__library(void)
{
    prepare_kernels();
    kernel = best();
    return PyModule_Create(&MODULE);
}
