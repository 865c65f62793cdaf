// The numeric kernels of the engine: matrix product, recurrent gates, activations, optimiser sweeps, conversions.
//
// Every kernel exists in variants (portable, AVX2 + FMA, AVX-512; on arm64 the portable one is NEON) behind one
// table. All variants perform the same operations in the same order, with fused multiply-adds written out, so
// they give the same bits; and a row's or element's bits do not depend on what stands beside it.
#ifndef CLVD_KERNELS_H
#define CLVD_KERNELS_H

#include <stdbool.h>
#include <stdint.h>

/// Widths of matrices are multiples of this.
#define CLVD_LANES 16

/// Chooses a variant by name (`portable`, `avx2`, `avx512`, or `best` for the last of these that the machine has); false
/// when it has it not. `best` is chosen before the first use. Not to be called while kernels run.
bool clvd_kernels_select(const char *name);
/// Name of the variant in use.
const char *clvd_kernels_name(void);

/// C[m×n] = A[m×k]·B[k×n], or += when `accumulate`. B and C are row-major with leading dimensions `ldb`, `ldc`;
/// element (i, p) of A is a[i * row_stride + p * column_stride], one of the strides is 1. n is a multiple of 16. Each element of C is one
/// chain of fused multiply-adds in the order of k.
void clvd_gemm(
    intptr_t m, intptr_t n, intptr_t k, const float *a, intptr_t row_stride, intptr_t column_stride, const float *b,
    intptr_t ldb, float *c, intptr_t ldc, bool accumulate);

/// y[rows×n] = bias, row by row.
void clvd_fill_rows(intptr_t rows, intptr_t n, const float *bias, float *y, intptr_t ldy);
/// sum[n] += Σ rows of x. The order is that of the rows.
void clvd_sum_rows(intptr_t rows, intptr_t n, const float *x, intptr_t ldx, float *sum);
/// y[n×m] = transpose of x[m×n].
void clvd_transpose(intptr_t m, intptr_t n, const float *x, float *y);

/// LSTM gates of one row: g[4n] holds the pre-activations of i, f, g, o and becomes their activations;
/// c' = f·c + i·g, h' = o·tanh(c'); tanh(c') is kept in tc when not NULL. n is a multiple of 16.
void clvd_lstm_row(intptr_t n, float *g, const float *c, float *c_next, float *tc, float *h_next);
/// Backward of it: from dh and dc (of h', c') the gradient of the pre-activations dg[4n]; dc becomes that of c.
void clvd_lstm_row_backward(
    intptr_t n, const float *g, const float *c, const float *tc, const float *dh, float *dc, float *dg);
/// GRU gates of one row, reset applied after the recurrent product: gx[3n], gh[3n] hold the input and recurrent
/// pre-activations of r, z, n. gx becomes the activations, gh keeps its n part. h' = (1 - z)·n + z·h.
void clvd_gru_row(intptr_t n, float *gx, float *gh, const float *h, float *h_next);
/// Backward: dgx[3n], dgh[3n]; dh (of h') becomes the direct part of that of h.
void clvd_gru_row_backward(
    intptr_t n, const float *gx, const float *gh, const float *h, float *dh, float *dgx, float *dgh);
/// tanh and its backward (dg = dh·(1 - h²)) in rows of n, a multiple of 16.
void clvd_tanh_row(intptr_t n, const float *g, float *h);
void clvd_tanh_row_backward(intptr_t n, const float *h, const float *dh, float *dg);
/// SiLU: y = x·σ(x), and dx = dy·σ(x)·(1 + x·(1 - σ(x))). n is a multiple of 16.
void clvd_silu(intptr_t n, const float *x, float *y);
void clvd_silu_backward(intptr_t n, const float *x, const float *dy, float *dx);

/// Elementwise, any n; x and y may be the same. Relative error of exp below 2e-7 within ±87, of log1p (x ≥ 0)
/// absolute below 3e-7 · (1 + value).
void clvd_exp(intptr_t n, const float *x, float *y);
void clvd_sigmoid(intptr_t n, const float *x, float *y);
void clvd_log1p(intptr_t n, const float *x, float *y);

/// IEEE half precision (round to nearest even) and 8 bits of values in [-1, 1] (round(127·x)). Any n.
void clvd_half_from_float(intptr_t n, const float *x, uint16_t *y);
void clvd_float_from_half(intptr_t n, const uint16_t *x, float *y);
void clvd_int8_from_unit(intptr_t n, const float *x, int8_t *y);
void clvd_unit_from_int8(intptr_t n, const int8_t *x, float *y);
uint16_t clvd_half_of_float(float x);
float clvd_float_of_half(uint16_t x);

/// y += x, and Σ x² in double precision, over n (a multiple of 16).
void clvd_add(intptr_t n, const float *x, float *y);
double clvd_sum_of_squares(intptr_t n, const float *x);
/// y = y + a·(x - y): one step of an exponential moving average.
void clvd_average(intptr_t n, float a, const float *x, float *y);

/// Optimiser sweeps over n (a multiple of 16) parameters. `scale` multiplies the gradient (clipping), `decay` is the
/// decoupled share of the parameter that goes (rate · weight decay).
void clvd_adam(
    intptr_t n, float *p, const float *g, float *m, float *v, float scale, float rate, float beta1, float beta2,
    float correction1, float correction2, float epsilon, float decay, float l2);
void clvd_adagrad(
    intptr_t n, float *p, const float *g, float *v, float scale, float rate, float epsilon, float decay);
void clvd_sgd(intptr_t n, float *p, const float *g, float *m, float scale, float rate, float momentum, float decay);

#endif
