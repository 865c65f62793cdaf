// The numeric kernels of the engine: matrix product, recurrent gates, activations, optimiser sweeps, conversions.
//
// Every kernel exists in variants (portable, AVX2 + FMA, AVX-512; on arm64 the portable one is NEON) behind one
// table. All variants perform the same operations in the same order, with fused multiply-adds written out, so
// they give the same bits. The bits of a row or element do not depend on its neighbours.
#ifndef CLVD_KERNELS_H
#define CLVD_KERNELS_H

#include <stdbool.h>
#include <stdint.h>

/// Widths of matrices are multiples of this.
#define CLVD_LANES 16

/// Chooses a variant by name: `portable`, `avx2`, `avx512`, or `best` for the last of these that the machine supports.
/// Returns false when the machine does not support it. `best` is chosen at the start. Do not call while kernels run.
bool clvd_kernels_select(const char *name);
/// Name of the variant in use.
const char *clvd_kernels_name(void);

/// C[m×n] = A[m×k]·B[k×n], or += when `accumulate`. B and C are row-major with leading dimensions `ldb`, `ldc`;
/// element (i, p) of A is a[i * row_stride + p * column_stride], one of the strides is 1. n is a multiple of 16. Each
/// element of C is one chain of fused multiply-adds in the order of k.
void clvd_gemm(
    intptr_t m, intptr_t n, intptr_t k, const float *a, intptr_t row_stride, intptr_t column_stride, const float *b,
    intptr_t ldb, float *c, intptr_t ldc, bool accumulate);

/// Each row of y[rows×n] = bias[n]; y has the leading dimension `ldy`.
void clvd_fill_rows(intptr_t rows, intptr_t n, const float *bias, float *y, intptr_t ldy);
/// sum[n] += Σ rows of x[rows×n], in the order of the rows; x has the leading dimension `ldx`.
void clvd_sum_rows(intptr_t rows, intptr_t n, const float *x, intptr_t ldx, float *sum);
/// y[n×m] = transpose of x[m×n].
void clvd_transpose(intptr_t m, intptr_t n, const float *x, float *y);

/// LSTM gates of one row: g[4n] holds the pre-activations of i, f, q, o and becomes their activations. c[n] → c_next[n]
/// and h_next[n]: c' = f·c + i·q, h' = o·tanh(c'). tc[n] = tanh(c') unless it is NULL. n is a multiple of 16.
void clvd_lstm_row(intptr_t n, float *g, const float *c, float *c_next, float *tc, float *h_next);
/// Its backward pass: from dh[n] and dc[n] (gradients of h', c') the gradient of the pre-activations dg[4n]; dc becomes the
/// gradient of c. g[4n], c[n], tc[n] are those of the forward pass.
void clvd_lstm_row_backward(
    intptr_t n, const float *g, const float *c, const float *tc, const float *dh, float *dc, float *dg);
/// GRU gates of one row, reset applied after the recurrent product: gx[3n], gh[3n] hold the input and recurrent
/// pre-activations of r, z, q. gx becomes the activations; gh stays. h[n] → h_next[n]: h' = (1 - z)·q + z·h. n is a
/// multiple of 16.
void clvd_gru_row(intptr_t n, float *gx, float *gh, const float *h, float *h_next);
/// Its backward pass: from dh[n] (gradient of h') the gradients of the pre-activations, dgx[3n] and dgh[3n]; dh
/// becomes z·dh, the part of h's gradient that does not go through the gates.
void clvd_gru_row_backward(
    intptr_t n, const float *gx, const float *gh, const float *h, float *dh, float *dgx, float *dgh);
/// h[n] = tanh(g[n]), and its backward pass dg[n] = dh·(1 - h²). n is a multiple of 16.
void clvd_tanh_row(intptr_t n, const float *g, float *h);
void clvd_tanh_row_backward(intptr_t n, const float *h, const float *dh, float *dg);
/// SiLU: y[n] = x·σ(x), and its backward pass dx[n] = dy·σ(x)·(1 + x·(1 - σ(x))). n is a multiple of 16.
void clvd_silu(intptr_t n, const float *x, float *y);
void clvd_silu_backward(intptr_t n, const float *x, const float *dy, float *dx);

/// Elementwise, x[n] → y[n], any n; x and y may be the same. Relative error of exp below 2e-7 within ±87, of log1p (x ≥ 0)
/// absolute below 3e-7 · (1 + value).
void clvd_exp(intptr_t n, const float *x, float *y);
void clvd_sigmoid(intptr_t n, const float *x, float *y);
void clvd_log1p(intptr_t n, const float *x, float *y);

/// x[n] → y[n], any n: IEEE half precision (round to nearest even), and 8 bits for values in [-1, 1] (round(127·x)).
void clvd_half_from_float(intptr_t n, const float *x, uint16_t *y);
void clvd_float_from_half(intptr_t n, const uint16_t *x, float *y);
void clvd_int8_from_unit(intptr_t n, const float *x, int8_t *y);
void clvd_unit_from_int8(intptr_t n, const int8_t *x, float *y);
/// The same for one number.
uint16_t clvd_half_of_float(float x);
float clvd_float_of_half(uint16_t x);

/// y[n] += x[n], and Σ x[n]² in double precision. n is a multiple of 16.
void clvd_add(intptr_t n, const float *x, float *y);
double clvd_sum_of_squares(intptr_t n, const float *x);
/// y[n] += a·(x[n] - y[n]): one step of an exponential moving average. n is a multiple of 16.
void clvd_average(intptr_t n, float a, const float *x, float *y);

/// Optimiser sweeps over n (a multiple of 16) parameters p[n] with gradients g[n]; m[n] and v[n] are the optimiser's own
/// state. `scale` multiplies the gradient (clipping); the share `decay` (rate · weight decay) of each parameter is
/// subtracted, decoupled from the gradient.
void clvd_adam(
    intptr_t n, float *p, const float *g, float *m, float *v, float scale, float rate, float beta1, float beta2,
    float correction1, float correction2, float epsilon, float decay, float l2);
void clvd_adagrad(
    intptr_t n, float *p, const float *g, float *v, float scale, float rate, float epsilon, float decay);
void clvd_sgd(intptr_t n, float *p, const float *g, float *m, float scale, float rate, float momentum, float decay);

#endif
