// Run-time choice among the variants of the kernels, and the matrix product.
//
// An element of C must have the same bits whatever the number of rows in the call and wherever its row stands;
// otherwise the engine's output would depend on how the stream is cut into batches. The tile in kernels.inc guarantees
// this by construction, with the same bits in every variant. Libraries do not promise it: oneDNN 2.6 gave equal bits with
// AVX-512 on AMD's Zen 5 (299 ns a row of 256×96; the tile took 351 ns before its panels were packed), but not on
// Intel's Cascade Lake nor wherever it uses AVX2; OpenBLAS 0.3.21 takes 1,523 ns.
#include "CKernels.h"

#include <stddef.h>
#include <string.h>

// Contraction is written out (FMA); the compiler must not add any of its own, or variants would differ.
#pragma STDC FP_CONTRACT OFF
// Vectors wider than the instruction set never cross a call: everything that takes them is inlined.
#pragma clang diagnostic ignored "-Wpsabi"

typedef float v16 __attribute__((vector_size(64)));
typedef int32_t i16 __attribute__((vector_size(64)));
typedef double d16 __attribute__((vector_size(128)));
typedef int64_t l16 __attribute__((vector_size(128)));
#define ALWAYS inline __attribute__((always_inline))

struct table {
    void (*gemm)(
        intptr_t, intptr_t, intptr_t, const float *, intptr_t, intptr_t, const float *, intptr_t, float *, intptr_t,
        bool);
    void (*lstm_row)(intptr_t, float *, const float *, float *, float *, float *);
    void (*lstm_row_backward)(
        intptr_t, const float *, const float *, const float *, const float *, float *, float *);
    void (*gru_row)(intptr_t, float *, float *, const float *, float *);
    void (*gru_row_backward)(intptr_t, const float *, const float *, const float *, float *, float *, float *);
    void (*tanh_row)(intptr_t, const float *, float *);
    void (*tanh_row_backward)(intptr_t, const float *, const float *, float *);
    void (*silu)(intptr_t, const float *, float *);
    void (*silu_backward)(intptr_t, const float *, const float *, float *);
    void (*exp)(intptr_t, const float *, float *);
    void (*sigmoid)(intptr_t, const float *, float *);
    void (*log1p)(intptr_t, const float *, float *);
    void (*add)(intptr_t, const float *, float *);
    double (*sum_of_squares)(intptr_t, const float *);
    void (*average)(intptr_t, float, const float *, float *);
    void (*adam)(
        intptr_t, float *, const float *, float *, float *, float, float, float, float, float, float, float, float,
        float);
    void (*adagrad)(intptr_t, float *, const float *, float *, float, float, float, float);
    void (*sgd)(intptr_t, float *, const float *, float *, float, float, float, float);
    void (*half_from_float)(intptr_t, const float *, uint16_t *);
    void (*float_from_half)(intptr_t, const uint16_t *, float *);
    void (*int8_from_unit)(intptr_t, const float *, int8_t *);
    void (*unit_from_int8)(intptr_t, const int8_t *, float *);
};

#if defined(__x86_64__)
// What SSE2 lacks, with the same bits as the instructions. Without these functions the compiler calls a library for every
// element.

// y[16] = a·b + c, rounded once, for lanes where a sum in double precision is not exact enough. The double is rounded to
// odd (Boldo and Melquiond 2008, "Emulation of FMA and Correctly Rounded Sums"), so that rounding it to a float rounds
// the exact sum.
static __attribute__((noinline)) void fma_rounded_to_odd(const float *a, const float *b, const float *c, float *y) {
    for (int i = 0; i < 16; i++) {
        const double p = (double)a[i] * (double)b[i], z = c[i];
        double s = p + z;
        const double back = s - p, error = (p - (s - back)) + (z - back);  // exact (Knuth's TwoSum)
        if (error < 0 || error > 0) {
            int64_t bits;
            memcpy(&bits, &s, sizeof bits);
            if ((bits & 1) == 0) bits += (error > 0) == (s > 0) ? 1 : -1;
            memcpy(&s, &bits, sizeof s);
        }
        y[i] = (float)s;
    }
}

// a·b + c, rounded once, 16 lanes. The product of two floats is exact in double precision; the sum is rounded to a double
// and then to a float. Rounding twice gives the same as rounding once, unless the double lies midway between two floats or
// the float is subnormal (midpoints then have other bits).
static ALWAYS v16 fma_in_double(v16 a, v16 b, v16 c) {
    d16 s = __builtin_convertvector(a, d16) * __builtin_convertvector(b, d16) + __builtin_convertvector(c, d16);
    v16 y = __builtin_convertvector(s, v16);
    l16 bits;
    __builtin_memcpy(&bits, &s, sizeof bits);
    i16 middle = (__builtin_convertvector(bits, i16) & 0x1FFFFFFF) == 0x10000000;
    i16 magnitude;
    __builtin_memcpy(&magnitude, &y, sizeof magnitude);
    magnitude &= 0x7FFFFFFF;
    i16 unsure = middle | ((magnitude > 0) & (magnitude <= 0x00800000));
    if (__builtin_expect(__builtin_reduce_or(unsure) != 0, 0)) {
        float in[3][16], out[16];
        __builtin_memcpy(in[0], &a, sizeof a);
        __builtin_memcpy(in[1], &b, sizeof b);
        __builtin_memcpy(in[2], &c, sizeof c);
        fma_rounded_to_odd(in[0], in[1], in[2], out);
        __builtin_memcpy(&y, out, sizeof y);
    }
    return y;
}

// The nearest integer, ties to even, for |x| < 2^22: one number, or 16 lanes.
static ALWAYS float round_small(float x) { return (x + 12582912.0f) - 12582912.0f; }
static ALWAYS v16 round_small16(v16 x) { return (x + 12582912.0f) - 12582912.0f; }

// One number. After Giesen ("Float to half conversion"): adding a power of two rounds what becomes subnormal.
static ALWAYS uint16_t half_of_float(float x) {
    uint32_t u, tiny;
    memcpy(&u, &x, 4);
    const uint32_t sign = u & 0x80000000u;
    u ^= sign;
    float f;
    memcpy(&f, &u, 4);
    f += 0.5f;
    memcpy(&tiny, &f, 4);
    tiny -= 0x3F000000u;
    const uint32_t normal = (u + 0xC8000FFFu + ((u >> 13) & 1)) >> 13;
    const uint32_t special = u > 0x7F800000u ? 0x7E00u | (u >> 13 & 0x3FFu) : 0x7C00u;
    const uint32_t y = u >= 0x47800000u ? special : u < 0x38800000u ? tiny : normal;
    return (uint16_t)(y | sign >> 16);
}
// One number; exact.
static ALWAYS float float_of_half(uint16_t x) {
    const uint32_t magnitude = (uint32_t)(x & 0x7FFF) << 13, exponent = magnitude & 0x0F800000u;
    uint32_t normal = magnitude + 0x38000000u;
    if (exponent == 0x0F800000u) normal = (normal + 0x38000000u) | (magnitude & 0x007FE000u ? 0x00400000u : 0);
    uint32_t bits = magnitude + 0x38800000u;
    float tiny;
    memcpy(&tiny, &bits, 4);
    tiny -= 0x1p-14f;
    memcpy(&bits, &tiny, 4);
    bits = (exponent == 0 ? bits : normal) | (uint32_t)(x & 0x8000) << 16;
    float y;
    memcpy(&y, &bits, 4);
    return y;
}
#define FMA fma_in_double
#define ROUND16 round_small16
#define ROUND round_small
#define HALF_OF_FLOAT half_of_float
#define FLOAT_OF_HALF float_of_half
#endif

#define NAME(x) x##_portable
#define MR 4
#define NV 1
#include "kernels.inc"

#if defined(__x86_64__)
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)
#define NAME(x) x##_avx2
#define MR 6
#define NV 1
#include "kernels.inc"
#pragma clang attribute pop

#pragma clang attribute push( \
    __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,fma,f16c,prefer-256-bit,evex512"))), apply_to = function)
#define NAME(x) x##_avx512
#define MR 6
#define NV 4
#include "kernels.inc"
#pragma clang attribute pop
#endif

static const struct table *chosen;
static const char *chosen_name;

static bool take(const char *name, const struct table *table) {
    chosen = table;
    chosen_name = name;
    return true;
}

static bool select_variant(const char *name) {
    if (strcmp(name, "portable") == 0) return take("portable", &kernels_portable);
#if defined(__x86_64__)
    const bool has_avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
    if (strcmp(name, "avx2") == 0 && has_avx2) return take("avx2", &kernels_avx2);
    if (strcmp(name, "avx512") == 0 && has_avx2 && __builtin_cpu_supports("avx512f")
        && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
        return take("avx512", &kernels_avx512);
#endif
    return false;
}

bool clvd_kernels_select(const char *name) {
    if (strcmp(name, "best") != 0) return select_variant(name);
    return select_variant("avx512") || select_variant("avx2") || select_variant("portable");
}
__attribute__((constructor)) static void choose_best(void) {
    (void)clvd_kernels_select("best");
}

const char *clvd_kernels_name(void) { return chosen_name; }

void clvd_gemm(
    intptr_t m, intptr_t n, intptr_t k, const float *a, intptr_t row_stride, intptr_t column_stride, const float *b,
    intptr_t ldb, float *c, intptr_t ldc, bool accumulate) {
    chosen->gemm(m, n, k, a, row_stride, column_stride, b, ldb, c, ldc, accumulate);
}
void clvd_fill_rows(intptr_t rows, intptr_t n, const float *bias, float *y, intptr_t ldy) {
    for (intptr_t r = 0; r < rows; r++) memcpy(y + r * ldy, bias, (size_t)n * sizeof(float));
}
void clvd_sum_rows(intptr_t rows, intptr_t n, const float *x, intptr_t ldx, float *sum) {
    for (intptr_t r = 0; r < rows; r++)
        for (intptr_t j = 0; j < n; j++) sum[j] += x[r * ldx + j];
}
void clvd_transpose(intptr_t m, intptr_t n, const float *x, float *y) {
    for (intptr_t i = 0; i < m; i++)
        for (intptr_t j = 0; j < n; j++) y[j * m + i] = x[i * n + j];
}
void clvd_lstm_row(intptr_t n, float *g, const float *c, float *c_next, float *tc, float *h_next) {
    chosen->lstm_row(n, g, c, c_next, tc, h_next);
}
void clvd_lstm_row_backward(
    intptr_t n, const float *g, const float *c, const float *tc, const float *dh, float *dc, float *dg) {
    chosen->lstm_row_backward(n, g, c, tc, dh, dc, dg);
}
void clvd_gru_row(intptr_t n, float *gx, float *gh, const float *h, float *h_next) {
    chosen->gru_row(n, gx, gh, h, h_next);
}
void clvd_gru_row_backward(
    intptr_t n, const float *gx, const float *gh, const float *h, float *dh, float *dgx, float *dgh) {
    chosen->gru_row_backward(n, gx, gh, h, dh, dgx, dgh);
}
void clvd_tanh_row(intptr_t n, const float *g, float *h) { chosen->tanh_row(n, g, h); }
void clvd_tanh_row_backward(intptr_t n, const float *h, const float *dh, float *dg) {
    chosen->tanh_row_backward(n, h, dh, dg);
}
void clvd_silu(intptr_t n, const float *x, float *y) { chosen->silu(n, x, y); }
void clvd_silu_backward(intptr_t n, const float *x, const float *dy, float *dx) { chosen->silu_backward(n, x, dy, dx); }
void clvd_exp(intptr_t n, const float *x, float *y) { chosen->exp(n, x, y); }
void clvd_sigmoid(intptr_t n, const float *x, float *y) { chosen->sigmoid(n, x, y); }
void clvd_log1p(intptr_t n, const float *x, float *y) { chosen->log1p(n, x, y); }
void clvd_add(intptr_t n, const float *x, float *y) { chosen->add(n, x, y); }
double clvd_sum_of_squares(intptr_t n, const float *x) { return chosen->sum_of_squares(n, x); }
void clvd_average(intptr_t n, float a, const float *x, float *y) { chosen->average(n, a, x, y); }
void clvd_adam(
    intptr_t n, float *p, const float *g, float *m, float *v, float scale, float rate, float beta1, float beta2,
    float correction1, float correction2, float epsilon, float decay, float l2) {
    chosen->adam(n, p, g, m, v, scale, rate, beta1, beta2, correction1, correction2, epsilon, decay, l2);
}
void clvd_adagrad(
    intptr_t n, float *p, const float *g, float *v, float scale, float rate, float epsilon, float decay) {
    chosen->adagrad(n, p, g, v, scale, rate, epsilon, decay);
}
void clvd_sgd(intptr_t n, float *p, const float *g, float *m, float scale, float rate, float momentum, float decay) {
    chosen->sgd(n, p, g, m, scale, rate, momentum, decay);
}
void clvd_half_from_float(intptr_t n, const float *x, uint16_t *y) { chosen->half_from_float(n, x, y); }
void clvd_float_from_half(intptr_t n, const uint16_t *x, float *y) { chosen->float_from_half(n, x, y); }
void clvd_int8_from_unit(intptr_t n, const float *x, int8_t *y) { chosen->int8_from_unit(n, x, y); }
void clvd_unit_from_int8(intptr_t n, const int8_t *x, float *y) { chosen->unit_from_int8(n, x, y); }
uint16_t clvd_half_of_float(float x) {
    uint16_t y;
    chosen->half_from_float(1, &x, &y);
    return y;
}
float clvd_float_of_half(uint16_t x) {
    float y;
    chosen->float_from_half(1, &x, &y);
    return y;
}
