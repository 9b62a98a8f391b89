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

static size_t last_size(const Tensor *x) { return x->rank ? (size_t)x->sizes[x->rank - 1] : 0; }

/* From the last inputs of an operator, which have to fit x [..., inputs], or of several groups x
 * [..., groups, inputs], with a scale for each column or one for each group. */
static Status *get_weights(const Tensor *x, const Tensor *last, bool columns, Weights *out)
{
    const Tensor *weight = last, *sums = last + 1, *scale = last + 2, *bias = last + 3;
    if (x->rank < 1)
        return wrong("the input has no axis");
    if (weight->rank != 5 || weight->sizes[0] < 1 || weight->sizes[3] != OUTPUTS ||
        weight->sizes[4] != INPUTS)
        return wrong("weights are not [groups, blocks, quads, 16, 4]");
    size_t groups = (size_t)weight->sizes[0];
    size_t blocks = (size_t)weight->sizes[1], quads = (size_t)weight->sizes[2];
    size_t inputs = last_size(x), outputs = bias->count / groups;
    if (bias->count != groups * outputs || blocks != (outputs + OUTPUTS - 1) / OUTPUTS)
        return wrong("the bias does not fit the weights");
    if (sums->count != groups * blocks * OUTPUTS)
        return wrong("the sums do not fit the weights");
    if (inputs != quads * INPUTS)
        return wrong("the input does not fit the weights");
    if (groups > 1 && (x->rank < 2 || (size_t)x->sizes[x->rank - 2] != groups))
        return wrong("the input has not as many groups as the weights");
    if (scale->count != groups * (columns ? outputs : 1))
        return wrong("the scale does not fit the weights");
    *out = (Weights){weight->data, sums->data, scale->data, bias->data, groups,
                     blocks,       quads,      inputs,      outputs};
    return NULL;
}

static Status *get_room(const Weights *w, size_t rows, Room *out)
{
    size_t products = rows * w->blocks * OUTPUTS, floats = rows + 2 * w->inputs;
    out->y = malloc(products * sizeof *out->y + floats * sizeof(float) + rows * w->inputs + 1);
    if (out->y == NULL)
        return ort->create_status(FAILURE, "no memory");
    out->sizes = (float *)(out->y + products);
    out->gates = out->sizes + rows;
    out->x = (uint8_t *)(out->gates + 2 * w->inputs);
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
    TRY(get_weights(x, in + 1, true, &w));
    TRY(get_output(context, 0, x, (int64_t)w.outputs, &y));
    TRY(get_room(&w, ROWS, &room));
    size_t rows = w.inputs ? x->count / (w.groups * w.inputs) : 0;
    kernel->linear(&w, x->data, rows, &room, y);
    free(room.y);
    return NULL;
}

static Status *CALL gru(void *unused, Context *context)
{
    (void)unused;
    Tensor in[6], *a = in, *state = in + 1;
    Weights w;
    Room room;
    float *states, *end;
    TRY(get_inputs(context, in, 6));
    TRY(get_weights(state, in + 2, false, &w));
    size_t size = w.inputs;
    if (w.outputs != 3 * size)
        return wrong("the weights are not those of a GRU");
    if (a->rank != state->rank + 1 || last_size(a) != 3 * size ||
        memcmp(a->sizes + 1, state->sizes, (state->rank - 1) * sizeof *a->sizes) != 0)
        return wrong("input and state are of other streams");
    size_t frames = (size_t)a->sizes[0];
    size_t streams = size ? state->count / (w.groups * size) : 0;
    TRY(get_output(context, 0, a, (int64_t)size, &states));
    TRY(get_output(context, 1, state, (int64_t)size, &end));
    TRY(get_room(&w, streams, &room));
    kernel->gru(&w, a->data, state->data, frames, streams, &room, states);
    free(room.y);
    const float *last = frames ? states + (frames - 1) * state->count : state->data;
    if (state->count)
        memcpy(end, last, state->count * sizeof *end);
    return NULL;
}

static Status *CALL power(void *unused, Context *context)
{
    (void)unused;
    Tensor in[4], *samples = in, *window = in + 1, *cosines = in + 2;
    float *out;
    TRY(get_inputs(context, in, 4));
    if (samples->rank != 2 || window->count != HALF)
        return wrong("samples are not [streams, samples], or the window is another");
    size_t streams = (size_t)samples->sizes[0], length = (size_t)samples->sizes[1];
    size_t bins = last_size(cosines), frames = (length + MISSING) / HOP - BEFORE;
    if ((length + MISSING) % HOP || length < WINDOW - MISSING || bins >= FFT / 2)
        return wrong("samples are not whole hops, or there are too many frequencies");
    Tensor like = {.rank = 3, .sizes = {(int64_t)streams, (int64_t)frames}};
    TRY(get_output(context, 0, &like, (int64_t)bins, &out));
    kernel->power(samples->data, window->data, streams, length, frames, bins, out);
    return NULL;
}

typedef struct {
    Operator base; /* what onnxruntime knows of it */
    const char *name;
    size_t inputs, outputs;
    int types[6]; /* of the inputs */
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

static const Own OPERATORS[] = {
    {BASE(linear), "Int8Linear", 5, 1, {FLOAT, INT8, INT32, FLOAT, FLOAT}},
    {BASE(gru), "Int8GRU", 6, 2, {FLOAT, FLOAT, INT8, INT32, FLOAT, FLOAT}},
    {BASE(power), "PowerSpectrum", 4, 1, {FLOAT, FLOAT, FLOAT, FLOAT}},
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
