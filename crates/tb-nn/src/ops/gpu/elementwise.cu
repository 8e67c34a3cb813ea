// Kernels whose time is that of reading and writing: norms, rotation, gates, sums, conversions, dropout, gathering. All maths in f32.
#include "common.cuh"
#include "philox.cuh"

// --- RMSNorm: y = x / sqrt(mean(x^2) + eps) * w, a block per row.

template <typename T>
__device__ void rms_norm(T *y, const T *x, const void *w, int w_wide, int width, float eps) {
  x += (size_t)blockIdx.x * width;
  y += (size_t)blockIdx.x * width;
  const bool whole = groups(width, x, y);
  float square = 0.f, v[8];
  for (int i = 8 * threadIdx.x; i < width; i += 8 * blockDim.x) {
    take_8(v, x, i, width, whole);
#pragma unroll
    for (int k = 0; k < 8; ++k) square += v[k] * v[k];
  }
  const float scale = rsqrtf(block_sum(square) / width + eps);
  for (int i = 8 * threadIdx.x; i < width; i += 8 * blockDim.x) {
    take_8(v, x, i, width, whole);
#pragma unroll
    for (int k = 0; k < 8; ++k) v[k] *= scale * (i + k < width ? constant(w, w_wide, i + k) : 0.f);
    put_8(y, v, i, width, whole);
  }
}
#define P(T) (T * y, const T *x, const void *w, int w_wide, int width, float eps)
BOTH(rms_norm, P, (y, x, w, w_wide, width, eps))
#undef P

// dx = [residual +] (g - n mean(g n)) / rms with g = dy w and n = x / rms.
template <typename T>
__device__ void rms_norm_back(T *dx, const T *x, const void *w, int w_wide, const T *dy, const T *residual, int width, float eps) {
  const size_t at = (size_t)blockIdx.x * width;
  x += at, dy += at, dx += at;
  if (residual) residual += at;
  const bool whole = groups(width, x, dy, dx) && groups(width, residual);
  float square = 0.f, along = 0.f, v[8], d[8], r[8] = {};
  for (int i = 8 * threadIdx.x; i < width; i += 8 * blockDim.x) {
    take_8(v, x, i, width, whole);
    take_8(d, dy, i, width, whole);
#pragma unroll
    for (int k = 0; k < 8; ++k) {
      square += v[k] * v[k];
      along += v[k] * d[k] * (i + k < width ? constant(w, w_wide, i + k) : 0.f);
    }
  }
  const float scale = rsqrtf(block_sum(square) / width + eps);
  const float mean = block_sum(along) * scale * scale / width;
  for (int i = 8 * threadIdx.x; i < width; i += 8 * blockDim.x) {
    take_8(v, x, i, width, whole);
    take_8(d, dy, i, width, whole);
    if (residual) take_8(r, residual, i, width, whole);
#pragma unroll
    for (int k = 0; k < 8; ++k) d[k] = (d[k] * (i + k < width ? constant(w, w_wide, i + k) : 0.f) - v[k] * mean) * scale + r[k];
    put_8(dx, d, i, width, whole);
  }
}
#define P(T) (T * dx, const T *x, const void *w, int w_wide, const T *dy, const T *residual, int width, float eps)
BOTH(rms_norm_back, P, (dx, x, w, w_wide, dy, residual, width, eps))
#undef P

// --- Rotary embedding in place: rows of `heads` heads of `size`, the first `pairs` pairs (i, i + pairs) turned by each token's angle.

template <typename T>
__device__ void rope(T *x, const float *cosines, const float *sines, const uint32_t *positions, int heads, int size, int pairs, float sign) {
  const size_t token = blockIdx.x;
  const size_t table = (size_t)positions[token] * pairs;
  for (int i = threadIdx.x; i < heads * pairs; i += blockDim.x) {
    const int head = i / pairs, pair = i % pairs;
    T *at = x + (token * heads + head) * size + pair;
    const float c = cosines[table + pair], s = sines[table + pair] * sign;
    const float a = widen(at[0]), b = widen(at[pairs]);
    narrow(at[0], a * c - b * s);
    narrow(at[pairs], b * c + a * s);
  }
}
#define P(T) (T * x, const float *cosines, const float *sines, const uint32_t *positions, int heads, int size, int pairs, float sign)
BOTH(rope, P, (x, cosines, sines, positions, heads, size, pairs, sign))
#undef P

// --- Gated activation: y = act(gate) up. gelu: the tanh approximation.

__device__ __forceinline__ void activated(float g, int gelu, float &value, float &slope) {
  if (gelu) {
    const float root = 0.7978845608028654f, cubic = 0.044715f;
    const float t = tanhf(root * (g + cubic * g * g * g));
    value = 0.5f * g * (1.f + t);
    slope = 0.5f * (1.f + t) + 0.5f * g * (1.f - t * t) * root * (1.f + 3.f * cubic * g * g);
  } else {
    const float s = 1.f / (1.f + __expf(-g));
    value = g * s;
    slope = s * (1.f + g * (1.f - s));
  }
}

template <typename T>
__device__ void gated(T *y, const T *gate, const T *up, int gelu, size_t n) {
  const bool whole = groups(n, y, gate, up);
  for EACH_8(i, n) {
    float g[8], u[8], slope;
    take_8(g, gate, i, n, whole);
    take_8(u, up, i, n, whole);
#pragma unroll
    for (int k = 0; k < 8; ++k) {
      activated(g[k], gelu, g[k], slope);
      g[k] *= u[k];
    }
    put_8(y, g, i, n, whole);
  }
}
#define P(T) (T * y, const T *gate, const T *up, int gelu, size_t n)
BOTH(gated, P, (y, gate, up, gelu, n))
#undef P

// The gradients may lie where gate and up do.
template <typename T>
__device__ void gated_back(T *dgate, T *dup, const T *gate, const T *up, const T *dy, int gelu, size_t n) {
  const bool whole = groups(n, gate, up, dy) && groups(n, dgate, dup);
  for EACH_8(i, n) {
    float g[8], u[8], d[8];
    take_8(g, gate, i, n, whole);
    take_8(u, up, i, n, whole);
    take_8(d, dy, i, n, whole);
#pragma unroll
    for (int k = 0; k < 8; ++k) {
      float value, slope;
      activated(g[k], gelu, value, slope);
      g[k] = d[k] * u[k] * slope;
      u[k] = d[k] * value;
    }
    put_8(dgate, g, i, n, whole);
    put_8(dup, u, i, n, whole);
  }
}
#define P(T) (T * dgate, T * dup, const T *gate, const T *up, const T *dy, int gelu, size_t n)
BOTH(gated_back, P, (dgate, dup, gate, up, dy, gelu, n))
#undef P

// --- Sums.

// y = a + b.
template <typename T>
__device__ void add(T *y, const T *a, const T *b, size_t n) {
  const bool whole = groups(n, y, a, b);
  for EACH_8(i, n) {
    float v[8], w[8];
    take_8(v, a, i, n, whole);
    take_8(w, b, i, n, whole);
#pragma unroll
    for (int k = 0; k < 8; ++k) v[k] += w[k];
    put_8(y, v, i, n, whole);
  }
}
#define P(T) (T * y, const T *a, const T *b, size_t n)
BOTH(add, P, (y, a, b, n))
#undef P

// y[row][i] += bias[i].
template <typename T>
__device__ void add_bias(T *y, const void *bias, int bias_wide, int width, size_t n) {
  for (size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += (size_t)gridDim.x * blockDim.x)
    narrow(y[i], widen(y[i]) + constant(bias, bias_wide, i % width));
}
#define P(T) (T * y, const void *bias, int bias_wide, int width, size_t n)
BOTH(add_bias, P, (y, bias, bias_wide, width, n))
#undef P

// y = x times a number that lies on the device.
template <typename T>
__device__ void scaled_by(T *y, const T *x, const float *by, size_t n) {
  const float scale = *by;
  for (size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += (size_t)gridDim.x * blockDim.x)
    narrow(y[i], widen(x[i]) * scale);
}
#define P(T) (T * y, const T *x, const float *by, size_t n)
BOTH(scaled_by, P, (y, x, by, n))
#undef P

// --- Conversions and places.

extern "C" __global__ void to_bf16(bf16 *y, const float *x, size_t n) {
  for (size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += (size_t)gridDim.x * blockDim.x)
    y[i] = __float2bfloat16_rn(x[i]);
}

extern "C" __global__ void to_f32(float *y, const bf16 *x, size_t n) {
  for (size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += (size_t)gridDim.x * blockDim.x)
    y[i] = __bfloat162float(x[i]);
}

// Copies `columns` columns from one row-major matrix into another.
template <typename T>
__device__ void columns(T *y, int y_row, const T *x, int x_row, int columns, size_t n) {
  for (size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += (size_t)gridDim.x * blockDim.x) {
    const size_t row = i / columns, column = i % columns;
    y[row * y_row + column] = x[row * x_row + column];
  }
}
#define P(T) (T * y, int y_row, const T *x, int x_row, int width, size_t n)
BOTH(columns, P, (y, y_row, x, x_row, width, n))
#undef P

// y[n] = table[ids[n]].
template <typename T>
__device__ void gather(T *y, const T *table, const uint32_t *ids, int width) {
  const size_t from = (size_t)ids[blockIdx.x] * width, to = (size_t)blockIdx.x * width;
  for (int i = threadIdx.x; i < width; i += blockDim.x) y[to + i] = table[from + i];
}
#define P(T) (T * y, const T *table, const uint32_t *ids, int width)
BOTH(gather, P, (y, table, ids, width))
#undef P

// y[rows[n]] = x[n]; the rest of y is the caller's.
template <typename T>
__device__ void scatter(T *y, const T *x, const uint32_t *rows, int width) {
  const size_t to = (size_t)rows[blockIdx.x] * width, from = (size_t)blockIdx.x * width;
  for (int i = threadIdx.x; i < width; i += blockDim.x) y[to + i] = x[from + i];
}
#define P(T) (T * y, const T *x, const uint32_t *rows, int width)
BOTH(scatter, P, (y, x, rows, width))
#undef P

// --- Dropout by counters.

// x (rows, row_width): y = [y +] x kept and scaled, or 0; a row per blockIdx.y. Element e of row r is kept when word e of the stream of
// part `first_row` + r is at least `threshold`.
template <typename T>
__device__ void dropout(T *y, const T *x, uint64_t key, uint64_t lane, uint32_t purpose, uint32_t first_row, uint32_t threshold,
                        float scale, int add, size_t row_width) {
  const uint64_t mix = row_stream(lane, first_row + blockIdx.y);
  const uint2 keys = make_uint2((uint32_t)key, (uint32_t)(key >> 32));
  const size_t base = (size_t)blockIdx.y * row_width;
  x += base, y += base;
  const bool whole = groups(row_width, x, y);
  for EACH_8(i, row_width) {
    const uint4 low = philox_of((uint32_t)(i / 4), purpose, mix, keys);
    const uint4 high = philox_of((uint32_t)(i / 4 + 1), purpose, mix, keys);
    const uint32_t word[8] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
    float v[8], old[8] = {};
    take_8(v, x, i, row_width, whole);
    if (add) take_8(old, y, i, row_width, whole);
#pragma unroll
    for (int k = 0; k < 8; ++k) v[k] = old[k] + (word[k] >= threshold ? v[k] * scale : 0.f);
    put_8(y, v, i, row_width, whole);
  }
}
#define P(T)                                                                                                                        \
  (T * y, const T *x, uint64_t key, uint64_t lane, uint32_t purpose, uint32_t first_row, uint32_t threshold, float scale, int add,  \
   size_t row_width)
BOTH(dropout, P, (y, x, key, lane, purpose, first_row, threshold, scale, add, row_width))
#undef P

// --- Quantised weights (bitsandbytes' layouts): to bf16 or f32, rounded to bf16 on the way where `round` says so.

template <typename T>
__device__ void int8_weight(T *y, const int8_t *values, const float *scales, int columns, int round, size_t n) {
  for (size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += (size_t)gridDim.x * blockDim.x) {
    float v = __fmul_rn(__fmul_rn((float)values[i], scales[i / columns]), 7.874016e-3f);
    if (round) v = __bfloat162float(__float2bfloat16_rn(v));
    narrow(y[i], v);
  }
}
#define P(T) (T * y, const int8_t *values, const float *scales, int width, int round, size_t n)
BOTH(int8_weight, P, (y, values, scales, width, round, n))
#undef P

// Two codes a byte, the first in the high half; a scale per 64 values. A thread takes a byte.
template <typename T>
__device__ void four_bit_weight(T *y, const uint8_t *packed, const float *scales, const float *levels, int round, size_t n) {
  __shared__ float level[16];
  if (threadIdx.x < 16) level[threadIdx.x] = levels[threadIdx.x];
  __syncthreads();
  const size_t bytes = (n + 1) / 2;
  for (size_t b = (size_t)blockIdx.x * blockDim.x + threadIdx.x; b < bytes; b += (size_t)gridDim.x * blockDim.x) {
    const uint8_t byte = packed[b];
    const float scale = scales[b / 32];
#pragma unroll
    for (int k = 0; k < 2; ++k) {
      const size_t i = 2 * b + k;
      if (i >= n) break;
      float v = __fmul_rn(level[k ? byte & 15 : byte >> 4], scale);
      if (round) v = __bfloat162float(__float2bfloat16_rn(v));
      narrow(y[i], v);
    }
  }
}
#define P(T) (T * y, const uint8_t *packed, const float *scales, const float *levels, int round, size_t n)
BOTH(four_bit_weight, P, (y, packed, scales, levels, round, n))
#undef P

// --- AdamW (torch.optim.AdamW) of many tensors in one launch; all f32.

struct Trained {
  float *p;
  const float *g;
  float *m, *v;
  uint64_t n;
  float keep;  // 1 - learning rate times decay
  float unused;
};

// A column of blocks per tensor; gradients are multiplied by `by` first.
extern "C" __global__ void adamw(const Trained *all, float by, float one_minus_beta1, float beta2, float one_minus_beta2, float step_size,
                                 float root_correction, float eps) {
  const Trained t = all[blockIdx.y];
  for (size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x; i < t.n; i += (size_t)gridDim.x * blockDim.x) {
    const float grad = t.g[i] * by;
    const float mean = t.m[i] + (grad - t.m[i]) * one_minus_beta1;
    const float square = t.v[i] * beta2 + grad * grad * one_minus_beta2;
    t.m[i] = mean;
    t.v[i] = square;
    t.p[i] = t.p[i] * t.keep - step_size * (mean / (sqrtf(square) / root_correction + eps));
  }
}

struct Values {
  const float *values;
  uint64_t n;
};

// The sum of squares of each tensor in f64, in a fixed order: a block of 1,024 threads per tensor.
extern "C" __global__ void square_sums(double *out, const Values *all) {
  __shared__ double parts[1024];
  const Values t = all[blockIdx.x];
  double sum = 0.0;
  for (size_t i = threadIdx.x; i < t.n; i += 1024) sum += (double)t.values[i] * (double)t.values[i];
  parts[threadIdx.x] = sum;
  __syncthreads();
  for (int d = 512; d > 0; d >>= 1) {
    if (threadIdx.x < d) parts[threadIdx.x] += parts[threadIdx.x + d];
    __syncthreads();
  }
  if (threadIdx.x == 0) out[blockIdx.x] = parts[0];
}
