#include "_kernels.h"

#include <float.h>
#include <math.h>
#include <string.h>

#if defined(__GNUC__) && defined(__x86_64__)
#define X86
#include <immintrin.h>
#elif defined(__GNUC__) && defined(__aarch64__)
#define ARM
#include <arm_neon.h>
#ifdef __linux__
#include <sys/auxv.h>
#endif
#endif

enum { POINTS = FFT / 2 }; /* of the transform: two real numbers are a complex one */

/* exp(-2 pi i k / FFT), and where the k-th point of a transform goes. */
static float cosines[POINTS], sines[POINTS];
static unsigned char places[POINTS];

void prepare_kernels(void)
{
    for (int k = 0; k < POINTS; k++) {
        double angle = -2 * 3.14159265358979323846 * k / FFT;
        cosines[k] = (float)cos(angle);
        sines[k] = (float)sin(angle);
        places[k] = 0;
        for (int bit = 1; bit < POINTS; bit *= 2)
            places[k] |= k & bit ? POINTS / 2 / bit : 0;
    }
}

#if defined(X86) || defined(ARM)

#define INLINE static inline __attribute__((always_inline))
#ifndef __clang__
#pragma GCC diagnostic ignored "-Wpsabi" /* vectors are passed to nothing but what is inlined */
#endif

/* y [rows, blocks OUTPUTS], the products of the weights of a group and x [rows, inputs]. */
typedef void Product(const Weights *w, size_t group, const uint8_t *x, size_t rows, int32_t *y);

/* What follows is compiled for each kind of processor by itself, with the vectors that it has. */

/* To the nearest integer, halves to the even one; |x| < 2^22. */
INLINE float rounded(float x)
{
    const float shift = 12582912.0f; /* 1.5 * 2^23, from where on floats have no fraction */
    return (x + shift) - shift;
}

INLINE float largest(const float *x, size_t n)
{
    int32_t most = 0; /* magnitudes are in the order of their bits */
    for (size_t i = 0; i < n; i++) {
        int32_t bits;
        memcpy(&bits, x + i, sizeof bits);
        bits &= INT32_MAX;
        most = bits > most ? bits : most;
    }
    float size;
    memcpy(&size, &most, sizeof size);
    return size;
}

INLINE void quantise(const float *x, size_t n, float factor, int zero, uint8_t *out)
{
    for (size_t i = 0; i < n; i++) {
        float level = factor * LEVELS * x[i];
        level = level > -LEVELS ? level : -LEVELS; /* as are those that are no numbers */
        level = level < LEVELS ? level : LEVELS;
        out[i] = (uint8_t)((int32_t)rounded(level) + zero);
    }
}

/* exp(-x) of x >= 0: a power of two and the Taylor series of 2^f, |f| <= 1/2, within 2e-7. */
INLINE float exp_of_minus(float x)
{
    float power = -1.44269504f * (x < 87.0f ? x : 87.0f);
    float whole = rounded(power), f = power - whole;
    float y = 1.54035304e-4f;
    y = y * f + 1.33335581e-3f;
    y = y * f + 9.61812911e-3f;
    y = y * f + 5.55041087e-2f;
    y = y * f + 2.40226507e-1f;
    y = y * f + 6.93147181e-1f;
    y = y * f + 1.0f;
    int32_t bits = ((int32_t)whole + 127) * (1 << 23);
    float scale;
    memcpy(&scale, &bits, sizeof scale);
    return y * scale;
}

INLINE float sigmoid(float x)
{
    float e = exp_of_minus(fabsf(x));
    return (x < 0 ? e : 1.0f) / (1.0f + e);
}

INLINE float hyperbolic_tangent(float x)
{
    float e = exp_of_minus(2 * fabsf(x)), y = (1.0f - e) / (1.0f + e);
    return x < 0 ? -y : y;
}

enum { TOGETHER = 8 }; /* frames */
typedef float Together __attribute__((vector_size(TOGETHER * sizeof(float))));
typedef int32_t Integers __attribute__((vector_size(TOGETHER * sizeof(int32_t))));

/* Normal numbers above 0 become their natural logarithms, within 2e-7 or a rounding: 2^n m, m about
 * 1, becomes n ln 2 + 2 artanh((m - 1) / (m + 1)), of which this is the series. */
INLINE void logarithm(Together *x)
{
    const int32_t root = 0x3f3504f3; /* the bits of the root of 1/2 */
    Integers bits;
    memcpy(&bits, x, sizeof bits);
    Integers power = (bits - root) >> 23;
    bits -= power * (1 << 23);
    Together m;
    memcpy(&m, &bits, sizeof m);
    Together s = (m - 1) / (m + 1), square = s * s;
    Together y = square * (2.0f / 9) + 2.0f / 7;
    y = square * y + 2.0f / 5;
    y = square * y + 2.0f / 3;
    y = square * y + 2.0f;
    *x = __builtin_convertvector(power, Together) * 0.693147181f + s * y;
}

/* The fast Fourier transform (Cooley and Tukey 1965) of numbers in the order of `places`. */
INLINE void transform(Together real[POINTS], Together imaginary[POINTS])
{
    for (size_t half = 1; half < POINTS; half *= 2)
        for (size_t k = 0; k < half; k++) {
            float c = cosines[k * POINTS / half], s = sines[k * POINTS / half];
            for (size_t a = k, b = k + half; a < POINTS; a += 2 * half, b += 2 * half) {
                Together re = c * real[b] - s * imaginary[b], im = c * imaginary[b] + s * real[b];
                real[b] = real[a] - re;
                imaginary[b] = imaginary[a] - im;
                real[a] += re;
                imaginary[a] += im;
            }
        }
}

/* Some frames without their mean, each sample less 0.97 of the one before, weighed; the even ones
 * are real, the odd ones imaginary. */
INLINE void weigh(const float *const frames[TOGETHER], const float *window, Together real[POINTS],
                  Together imaginary[POINTS])
{
    Together samples[WINDOW], mean = {0};
    for (size_t t = 0; t < WINDOW; t++) {
        for (size_t i = 0; i < TOGETHER; i++)
            samples[t][i] = frames[i][t];
        mean += samples[t];
    }
    mean /= WINDOW;
    for (size_t t = 0; t < FFT; t++) {
        Together weighed = {0};
        if (t < 2 * HALF)
            weighed = window[t < HALF ? t : 2 * HALF - 1 - t] *
                      ((samples[t + 1] - mean) - 0.97f * (samples[t] - mean));
        (t % 2 ? imaginary : real)[places[t / 2]] = weighed;
    }
}

/* Adds the power of a bin to the energies [count] of the filters that it has a part in: they lie
 * side by side, from `first` on or higher; those of the next bin lie from what this returns on. */
INLINE size_t filter(const Filters *filters, size_t bin, size_t first, const Together *power,
                     Together *energies)
{
    const float *row = filters->mels + bin * filters->count;
    size_t mel = first;
    while (mel < filters->count && row[mel] == 0)
        mel++;
    first = mel < filters->count ? mel : first;
    for (; mel < filters->count && row[mel] != 0; mel++)
        energies[mel] += row[mel] * *power;
    return first;
}

INLINE void log_mel(const Filters *filters, const float *samples, size_t streams, size_t length,
                    size_t frames, float *out)
{
    const float floor = FLT_EPSILON;
    Together real[POINTS], imaginary[POINTS], energies[MOST_MELS];
    size_t all = streams * frames;
    for (size_t first = 0; first < all; first += TOGETHER) {
        const float *from[TOGETHER];
        float *to[TOGETHER];
        for (size_t i = 0; i < TOGETHER; i++) {
            size_t place = first + i < all ? first + i : all - 1;
            size_t stream = place / frames, frame = place % frames;
            from[i] = samples + stream * length + frame * HOP;
            to[i] = out + (frame * streams + stream) * filters->count;
        }
        weigh(from, filters->window, real, imaginary);
        transform(real, imaginary);
        memset(energies, 0, sizeof energies);
        for (size_t k = 1, mel = 0; k <= filters->bins; k++) {
            /* transforms of real numbers, the even and the odd */
            Together even_re = real[k] + real[POINTS - k];
            Together even_im = imaginary[k] - imaginary[POINTS - k];
            Together odd_re = imaginary[k] + imaginary[POINTS - k];
            Together odd_im = real[POINTS - k] - real[k];
            Together re = even_re + cosines[k] * odd_re - sines[k] * odd_im;
            Together im = even_im + cosines[k] * odd_im + sines[k] * odd_re;
            Together power = 0.25f * (re * re + im * im);
            mel = filter(filters, k - 1, mel, &power, energies);
        }
        for (size_t mel = 0; mel < filters->count; mel++) {
            Together energy = energies[mel];
            for (size_t i = 0; i < TOGETHER; i++)
                energy[i] = energy[i] > floor ? energy[i] : floor;
            logarithm(&energy);
            energy = (energy - filters->mean[mel]) / filters->deviation[mel];
            for (size_t i = 0; i < TOGETHER; i++)
                to[i][mel] = energy[i];
        }
    }
}

enum { SUMS = 16 }; /* that do not wait for each other */

/* The sum of x, or of its squares. */
INLINE float sum(const float *x, size_t n, int squares)
{
    float sums[SUMS] = {0}, total = 0;
    size_t i = 0;
    for (; i + SUMS <= n; i += SUMS)
        for (size_t j = 0; j < SUMS; j++)
            sums[j] += squares ? x[i + j] * x[i + j] : x[i + j];
    for (; i < n; i++)
        total += squares ? x[i] * x[i] : x[i];
    for (size_t j = 0; j < SUMS; j++)
        total += sums[j];
    return total;
}

/* Layer norm (Ba, Kiros and Hinton 2016). */
INLINE void norm_layer(const float *x, size_t n, const float *scale, const float *bias, float *out)
{
    const float epsilon = 1e-5f; /* PyTorch's default */
    float mean = sum(x, n, 0) / (float)n;
    for (size_t i = 0; i < n; i++)
        out[i] = x[i] - mean;
    float factor = 1 / sqrtf(sum(out, n, 1) / (float)n + epsilon);
    for (size_t i = 0; i < n; i++)
        out[i] = out[i] * factor * scale[i] + bias[i];
}

INLINE void linear(const Weights *w, const Norm *norm, const float *x, size_t rows,
                   const Room *room, float *y, Product product, int zero)
{
    const float silent = 1e-10f;
    for (; rows > 0; x += ROWS * w->groups * w->inputs, y += ROWS * w->groups * w->outputs) {
        size_t some = rows < ROWS ? rows : ROWS;
        rows -= some;
        for (size_t group = 0; group < w->groups; group++) {
            for (size_t row = 0; row < some; row++) {
                const float *from = x + (row * w->groups + group) * w->inputs;
                if (norm != NULL) {
                    size_t place = group * w->inputs;
                    norm_layer(from, w->inputs, norm->scale + place, norm->bias + place,
                               room->normed);
                    from = room->normed;
                }
                room->sizes[row] = largest(from, w->inputs) + silent;
                quantise(from, w->inputs, 1 / room->sizes[row], zero, room->x + row * w->inputs);
            }
            product(w, group, room->x, some, room->y);
            const float *scale = w->scale + group * w->outputs;
            const float *bias = w->bias + group * w->outputs;
            for (size_t row = 0; row < some; row++) {
                const int32_t *from = room->y + row * w->blocks * OUTPUTS;
                float *to = y + (row * w->groups + group) * w->outputs;
                float step = room->sizes[row] / LEVELS;
                for (size_t i = 0; i < w->outputs; i++)
                    to[i] = (float)from[i] * scale[i] * step + bias[i];
            }
        }
    }
}

/* One step of one stream: a, products and bias [3 n], the states before and after [n]. */
INLINE void gru_step(const float *a, const int32_t *product, float scale, const float *bias,
                     const float *before, size_t n, float *gates, float *after)
{
    for (size_t i = 0; i < 2 * n; i++)
        gates[i] = sigmoid(a[i] + ((float)product[i] * scale + bias[i]));
    for (size_t i = 0; i < n; i++) {
        float of_state = (float)product[2 * n + i] * scale + bias[2 * n + i];
        float candidate = hyperbolic_tangent(a[2 * n + i] + gates[i] * of_state);
        after[i] = candidate + gates[n + i] * (before[i] - candidate);
    }
}

INLINE void gru(const Weights *w, const float *a, const float *state, size_t frames,
                size_t streams, const Room *room, float *states, Product product, int zero)
{
    size_t n = w->inputs, each = streams * w->groups * n;
    for (; frames > 0; frames--, a += 3 * each, state = states, states += each)
        for (size_t group = 0; group < w->groups; group++) {
            for (size_t stream = 0; stream < streams; stream++)
                quantise(state + (stream * w->groups + group) * n, n, 1, zero,
                         room->x + stream * n);
            product(w, group, room->x, streams, room->y);
            for (size_t stream = 0; stream < streams; stream++) {
                size_t place = (stream * w->groups + group) * n;
                gru_step(a + 3 * place, room->y + stream * w->blocks * OUTPUTS,
                         w->scale[group] / LEVELS, w->bias + group * w->outputs, state + place, n,
                         room->gates, states + place);
            }
        }
}

/* A kernel: products of its own, of `most` rows at once and then one by one, and the above compiled
 * for it. */
#define KERNEL(name, target, most, zero)                                                       \
    target static void product_##name(const Weights *w, size_t group, const uint8_t *x,        \
                                      size_t rows, int32_t *y)                                 \
    {                                                                                          \
        size_t outputs = w->blocks * OUTPUTS;                                                  \
        for (; rows >= most; rows -= most, x += most * w->inputs, y += most * outputs)         \
            rows_##name(w, group, x, most, y);                                                 \
        for (; rows > 0; rows--, x += w->inputs, y += outputs)                                 \
            rows_##name(w, group, x, 1, y);                                                    \
    }                                                                                          \
    target static void log_mel_##name(const Filters *filters, const float *samples,            \
                                      size_t streams, size_t length, size_t frames, float *out) \
    {                                                                                          \
        log_mel(filters, samples, streams, length, frames, out);                               \
    }                                                                                          \
    target static void linear_##name(const Weights *w, const Norm *norm, const float *x,       \
                                     size_t rows, const Room *room, float *y)                  \
    {                                                                                          \
        linear(w, norm, x, rows, room, y, product_##name, zero);                               \
    }                                                                                          \
    target static void gru_##name(const Weights *w, const float *a, const float *state,        \
                                  size_t frames, size_t streams, const Room *room, float *states) \
    {                                                                                          \
        gru(w, a, state, frames, streams, room, states, product_##name, zero);                 \
    }

INLINE const int8_t *weights_of(const Weights *w, size_t group)
{
    return w->weight + group * w->blocks * w->quads * OUTPUTS * INPUTS;
}

/* Some activations of a row, together. */
INLINE int32_t quad_at(const uint8_t *x, size_t quad)
{
    int32_t bits;
    memcpy(&bits, x + quad * INPUTS, sizeof bits);
    return bits;
}

#ifdef X86

/* It multiplies unsigned by signed bytes: activations are OFFSET too large, and a sum begins with
 * what that makes too much. */
enum { OFFSET = 128 };

#define AVX2 __attribute__((target("avx2,fma")))

AVX2 INLINE void rows_avx2(const Weights *w, size_t group, const uint8_t *x, size_t rows,
                           int32_t *y)
{
    enum { HALF = OUTPUTS / 2 };
    const __m256i ones = _mm256_set1_epi16(1), offset = _mm256_set1_epi32(-OFFSET);
    const int8_t *weight = weights_of(w, group);
    const int32_t *sums = w->sums + group * w->blocks * OUTPUTS;
    for (size_t block = 0; block < w->blocks; block++, sums += OUTPUTS) {
        __m256i total[4][2];
        for (size_t half = 0; half < 2; half++) {
            __m256i sum = _mm256_loadu_si256((const __m256i *)(sums + half * HALF));
            for (size_t row = 0; row < rows; row++)
                total[row][half] = _mm256_mullo_epi32(sum, offset);
        }
        for (size_t quad = 0; quad < w->quads; quad++)
            for (size_t half = 0; half < 2; half++, weight += HALF * INPUTS) {
                __m256i here = _mm256_loadu_si256((const __m256i *)weight);
                for (size_t row = 0; row < rows; row++) {
                    __m256i q = _mm256_set1_epi32(quad_at(x + row * w->inputs, quad));
                    __m256i sum = _mm256_madd_epi16(_mm256_maddubs_epi16(q, here), ones);
                    total[row][half] = _mm256_add_epi32(total[row][half], sum);
                }
            }
        for (size_t row = 0; row < rows; row++)
            for (size_t half = 0; half < 2; half++) {
                int32_t *out = y + (row * w->blocks + block) * OUTPUTS + half * HALF;
                _mm256_storeu_si256((__m256i *)out, total[row][half]);
            }
    }
}

KERNEL(avx2, AVX2, 4, OFFSET)

static int has_avx2(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

#define VNNI __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,fma")))

VNNI INLINE void rows_vnni(const Weights *w, size_t group, const uint8_t *x, size_t rows,
                           int32_t *y)
{
    const __m512i offset = _mm512_set1_epi32(-OFFSET);
    const int8_t *weight = weights_of(w, group);
    const int32_t *sums = w->sums + group * w->blocks * OUTPUTS;
    for (size_t block = 0; block < w->blocks; block++, sums += OUTPUTS) {
        __m512i total[4];
        for (size_t row = 0; row < rows; row++)
            total[row] = _mm512_mullo_epi32(_mm512_loadu_si512(sums), offset);
        for (size_t quad = 0; quad < w->quads; quad++, weight += OUTPUTS * INPUTS) {
            __m512i here = _mm512_loadu_si512(weight);
            for (size_t row = 0; row < rows; row++) {
                __m512i q = _mm512_set1_epi32(quad_at(x + row * w->inputs, quad));
                total[row] = _mm512_dpbusd_epi32(total[row], q, here);
            }
        }
        for (size_t row = 0; row < rows; row++)
            _mm512_storeu_si512(y + (row * w->blocks + block) * OUTPUTS, total[row]);
    }
}

KERNEL(vnni, VNNI, 4, OFFSET)

static int has_vnni(void)
{
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vnni");
}

#endif

#ifdef ARM

enum { LANES = 4, PARTS = OUTPUTS / LANES };

/* Adds the products of one quad or two to sums, of which each output has two. Two products of an
 * output fit 16 bits. */
INLINE void add_quads(const int8_t *weight, const uint8_t *x, size_t inputs, size_t rows,
                      size_t quads, int32x4_t low[][PARTS], int32x4_t high[][PARTS])
{
    for (size_t part = 0; part < PARTS; part++, weight += LANES * INPUTS) {
        int8x16_t here = vld1q_s8(weight);
        int8x16_t next = quads > 1 ? vld1q_s8(weight + OUTPUTS * INPUTS) : here;
        for (size_t row = 0; row < rows; row++) {
            const uint8_t *at = x + row * inputs;
            int8x16_t q = vreinterpretq_s8_s32(vdupq_n_s32(quad_at(at, 0)));
            int16x8_t first = vmull_s8(vget_low_s8(here), vget_low_s8(q));
            int16x8_t second = vmull_high_s8(here, q);
            if (quads > 1) {
                q = vreinterpretq_s8_s32(vdupq_n_s32(quad_at(at, 1)));
                first = vmlal_s8(first, vget_low_s8(next), vget_low_s8(q));
                second = vmlal_high_s8(second, next, q);
            }
            low[row][part] = vpadalq_s16(low[row][part], first);
            high[row][part] = vpadalq_s16(high[row][part], second);
        }
    }
}

INLINE void rows_neon(const Weights *w, size_t group, const uint8_t *x, size_t rows, int32_t *y)
{
    enum { QUAD = OUTPUTS * INPUTS };
    const int8_t *weight = weights_of(w, group);
    for (size_t block = 0; block < w->blocks; block++) {
        int32x4_t low[2][PARTS], high[2][PARTS];
        for (size_t row = 0; row < rows; row++)
            for (size_t part = 0; part < PARTS; part++)
                low[row][part] = high[row][part] = vdupq_n_s32(0);
        const uint8_t *at = x;
        for (size_t pair = 0; pair < w->quads / 2; pair++, at += 2 * INPUTS, weight += 2 * QUAD)
            add_quads(weight, at, w->inputs, rows, 2, low, high);
        if (w->quads % 2) {
            add_quads(weight, at, w->inputs, rows, 1, low, high);
            weight += QUAD;
        }
        for (size_t row = 0; row < rows; row++)
            for (size_t part = 0; part < PARTS; part++)
                vst1q_s32(y + (row * w->blocks + block) * OUTPUTS + part * LANES,
                          vpaddq_s32(low[row][part], high[row][part]));
    }
}

#define ANY
KERNEL(neon, ANY, 2, 0)

static int always(void) { return 1; }

#ifdef __ARM_FEATURE_DOTPROD
#define DOT
#elif !defined(__clang__) /* which knows them only where all code may have them */
#define DOT __attribute__((target("arch=armv8.2-a+dotprod")))
#endif

#ifdef DOT

DOT INLINE void rows_dot(const Weights *w, size_t group, const uint8_t *x, size_t rows, int32_t *y)
{
    const int8_t *weight = weights_of(w, group);
    for (size_t block = 0; block < w->blocks; block++) {
        int32x4_t total[4][PARTS];
        for (size_t row = 0; row < rows; row++)
            for (size_t part = 0; part < PARTS; part++)
                total[row][part] = vdupq_n_s32(0);
        for (size_t quad = 0; quad < w->quads; quad++)
            for (size_t part = 0; part < PARTS; part++, weight += LANES * INPUTS) {
                int8x16_t here = vld1q_s8(weight);
                for (size_t row = 0; row < rows; row++) {
                    int32x4_t q = vdupq_n_s32(quad_at(x + row * w->inputs, quad));
                    total[row][part] =
                        vdotq_s32(total[row][part], here, vreinterpretq_s8_s32(q));
                }
            }
        for (size_t row = 0; row < rows; row++)
            for (size_t part = 0; part < PARTS; part++)
                vst1q_s32(y + (row * w->blocks + block) * OUTPUTS + part * LANES,
                          total[row][part]);
    }
}

KERNEL(dot, DOT, 4, 0)

static int has_dot(void)
{
#ifdef __linux__
    return (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0;
#else
    return 1; /* as Apple's */
#endif
}

#endif
#endif

#endif

const Kernel KERNELS[] = {
#ifdef X86
    {"vnni", has_vnni, log_mel_vnni, linear_vnni, gru_vnni},
    {"avx2", has_avx2, log_mel_avx2, linear_avx2, gru_avx2},
#endif
#ifdef ARM
#ifdef DOT
    {"dot", has_dot, log_mel_dot, linear_dot, gru_dot},
#endif
    {"neon", always, log_mel_neon, linear_neon, gru_neon},
#endif
    {0},
};
