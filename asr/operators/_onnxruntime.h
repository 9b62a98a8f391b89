/* Of onnxruntime's C interface what an operator needs.
 *
 * Its Python package comes without headers. The interface is a table of functions that is only ever
 * added to, at its end, so that the place of a function is a fact (onnxruntime_c_api.h); and an
 * operator says which version it is written for. */

#ifndef RILL_ONNXRUNTIME_H
#define RILL_ONNXRUNTIME_H

#include <stddef.h>
#include <stdint.h>

#ifdef _WIN32
#define CALL __stdcall
#else
#define CALL
#endif

enum { VERSION = 18 }; /* of the interface, that of onnxruntime 1.18 */
enum { FLOAT = 1, INT8 = 3, INT32 = 6 };
enum { FAILURE = 1, INVALID_ARGUMENT = 2 };

typedef struct Status Status; /* an error; NULL if there is none */
typedef struct Value Value;
typedef struct Shape Shape;
typedef struct Domain Domain;
typedef struct Options Options;
typedef struct Context Context;
typedef struct Operator Operator;

typedef struct {
    Status *(CALL *create_status)(int code, const char *message);
    void *from_1[25];
    Status *(CALL *create_domain)(const char *name, Domain **out); /* 26 */
    Status *(CALL *add_operator)(Domain *domain, const Operator *operator);
    Status *(CALL *add_domain)(Options *options, Domain *domain);
    void *from_29[22];
    Status *(CALL *data)(Value *value, void **out); /* 51 */
    void *from_52[9];
    Status *(CALL *rank)(const Shape *shape, size_t *out); /* 61 */
    Status *(CALL *sizes)(const Shape *shape, int64_t *out, size_t rank);
    void *from_63[2];
    Status *(CALL *shape)(const Value *value, Shape **out); /* 65 */
    void *from_66[24];
    Status *(CALL *input)(const Context *context, size_t place, const Value **out); /* 90 */
    Status *(CALL *output)(Context *context, size_t place, const int64_t *sizes, size_t rank,
                           Value **out);
    void *from_92[7];
    void(CALL *release_shape)(Shape *shape); /* 99 */
} Interface;

typedef struct {
    const Interface *(CALL *of_version)(uint32_t version);
    const char *(CALL *version)(void);
} Base;

struct Operator {
    uint32_t version;
    void *create; /* of older versions, as `compute` */
    const char *(CALL *name)(const Operator *);
    const char *(CALL *provider)(const Operator *);
    int(CALL *input_type)(const Operator *, size_t place);
    size_t(CALL *inputs)(const Operator *);
    int(CALL *output_type)(const Operator *, size_t place);
    size_t(CALL *outputs)(const Operator *);
    void *compute;
    void(CALL *destroy)(void *kernel);
    int(CALL *input_need)(const Operator *, size_t place);
    int(CALL *output_need)(const Operator *, size_t place);
    int(CALL *input_memory)(const Operator *, size_t place);
    void *of_any_number[4];
    Status *(CALL *create_2)(const Operator *, const Interface *, const void *info, void **kernel);
    Status *(CALL *compute_2)(void *kernel, Context *context);
    void *optional[7];
};

#endif
