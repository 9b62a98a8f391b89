/* How far sentences are from each other, as asr/decoding/risk.py specifies it. */

#include "_passing.h"

/* Words that have to be changed, put in or left out to make one of the other (Levenshtein 1966), in
 * a row that has room for one more than the other has. */
static int32_t distance(const int64_t *one, size_t length, const int64_t *other, size_t width,
                        int32_t *row)
{
    for (; length > 0 && width > 0 && *one == *other; one++, other++)
        length--, width--;
    for (; length > 0 && width > 0 && one[length - 1] == other[width - 1]; length--)
        width--;
    for (size_t j = 0; j <= width; j++)
        row[j] = (int32_t)j;
    for (size_t i = 0; i < length; i++) {
        int32_t corner = row[0]++;
        for (size_t j = 0; j < width; j++) {
            int32_t least = Py_MIN(corner + (one[i] != other[j]), Py_MIN(row[j], row[j + 1]) + 1);
            corner = row[j + 1];
            row[j + 1] = least;
        }
    }
    return row[width];
}

PyObject *distances(PyObject *module, PyObject *arguments)
{
    (void)module;
    enum { WORDS, ENDS, ALL };
    const Py_ssize_t sizes[ALL] = {8, 8};
    PyObject *arrays[ALL];
    Py_buffer views[ALL];
    Py_ssize_t some;
    if (!PyArg_ParseTuple(arguments, "OOn", &arrays[WORDS], &arrays[ENDS], &some) ||
        !take(arrays, views, sizes, ALL))
        return NULL;
    const int64_t *words = views[WORDS].buf, *ends = views[ENDS].buf;
    Py_ssize_t count = (Py_ssize_t)length(&views[ENDS]);
    int64_t begin = 0, longest = 0;
    bool fine = some >= 0 && some <= count;
    for (Py_ssize_t i = 0; fine && i < count; begin = ends[i++]) {
        fine = begin <= ends[i] && ends[i] <= (int64_t)length(&views[WORDS]);
        longest = Py_MAX(longest, ends[i] - begin);
    }
    PyObject *found = NULL;
    int32_t *row = fine ? malloc(((size_t)longest + 1) * sizeof *row) : NULL;
    if (!fine)
        PyErr_SetString(PyExc_ValueError, "these are no ends of sentences");
    else if (row == NULL)
        PyErr_NoMemory();
    else
        found = PyBytes_FromStringAndSize(NULL, some * count * (Py_ssize_t)sizeof(int32_t));
    if (found != NULL) {
        int32_t *to = (int32_t *)PyBytes_AS_STRING(found);
        for (Py_ssize_t i = 0; i < some; i++)
            for (Py_ssize_t j = 0; j < count; j++) {
                int64_t one = i ? ends[i - 1] : 0, other = j ? ends[j - 1] : 0;
                *to++ = distance(words + one, (size_t)(ends[i] - one), words + other,
                                 (size_t)(ends[j] - other), row);
            }
    }
    let_go(views, ALL);
    free(row);
    return found;
}
