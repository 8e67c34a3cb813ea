// Softmax and cross-entropy of rows of logits that exist already, and the largest of a row. Sums in f32, a block per row.
#include "common.cuh"

// The row's negative log-likelihood to nll[row]; with `keep` the row of f32 logits becomes softmax - onehot (times the slope of the cap)
// in the number type T, at the row's own place: T's row takes the first half of the f32 row, or all of it.
template <typename T>
__device__ void cross_entropy(float *logits, const uint32_t *targets, float *nll, float cap, int keep, int v) {
  float *row = logits + (size_t)blockIdx.x * v;
  const int target = targets[blockIdx.x];
  const bool whole = groups(v, row);
  // The largest logit so far and the sum below it, in one reading.
  float top = -INFINITY, sum = 0.f, l[8];
  for (int i = 8 * threadIdx.x; i < v; i += 8 * blockDim.x) {
    take_8(l, row, i, v, whole);
    float highest = top;
#pragma unroll
    for (int k = 0; k < 8; ++k) {
      if (cap > 0.f) l[k] = cap * tanhf(l[k] / cap);
      if (i + k >= v) l[k] = -INFINITY;
      highest = fmaxf(highest, l[k]);
    }
    float more = 0.f;
#pragma unroll
    for (int k = 0; k < 8; ++k) more += __expf(l[k] - highest);
    sum = sum * __expf(top - highest) + more;
    top = highest;
  }
  const float all = block_max(top);
  sum = block_sum(top == -INFINITY ? 0.f : sum * __expf(top - all));
  top = all;
  if (threadIdx.x == 0) {
    const float at = cap > 0.f ? cap * tanhf(row[target] / cap) : row[target];
    nll[blockIdx.x] = logf(sum) + top - at;
  }
  if (!keep) return;
  const float scale = 1.f / sum;
  T *grads = (T *)row;
  // A tile is read before any of it is written, and T is no wider than f32: no write meets a value that is still to be read.
  for (int first = 0; first < v; first += 8 * blockDim.x) {
    const int i = first + 8 * threadIdx.x;
    __syncthreads();
    if (i < v) {
      take_8(l, row, i, v, whole);
#pragma unroll
      for (int k = 0; k < 8; ++k) {
        float slope = 1.f;
        if (cap > 0.f) {
          const float t = tanhf(l[k] / cap);
          l[k] = cap * t;
          slope = 1.f - t * t;
        }
        l[k] = (__expf(l[k] - top) * scale - (i + k == target ? 1.f : 0.f)) * slope;
      }
    }
    __syncthreads();
    if (i < v) put_8(grads, l, i, v, whole);
  }
}
#define P(T) (float *logits, const uint32_t *targets, float *nll, float cap, int keep, int v)
BOTH(cross_entropy, P, (logits, targets, nll, cap, keep, v))
#undef P

// The sum of n values in f64, in a fixed order, by one block of 1,024 threads.
extern "C" __global__ void sum_all(float *out, const float *values, size_t n) {
  __shared__ double parts[1024];
  double sum = 0.0;
  for (size_t i = threadIdx.x; i < n; i += 1024) sum += (double)values[i];
  parts[threadIdx.x] = sum;
  __syncthreads();
  for (int d = 512; d > 0; d >>= 1) {
    if (threadIdx.x < d) parts[threadIdx.x] += parts[threadIdx.x + d];
    __syncthreads();
  }
  if (threadIdx.x == 0) *out = (float)parts[0];
}

// Of two logits the larger, of equals the one with the lower id.
__device__ __forceinline__ void better(float &top, uint32_t &id, float other, uint32_t other_id) {
  if (other > top || (other == top && other_id < id)) top = other, id = other_id;
}

// The id of each row's largest logit, the lowest among equals; 0xffffffff where a logit is not a number.
extern "C" __global__ void best_logits(uint32_t *out, const float *logits, int v) {
  __shared__ float tops[32];
  __shared__ uint32_t ids[32];
  const float *row = logits + (size_t)blockIdx.x * v;
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, warps = blockDim.x >> 5;
  float top = -INFINITY;
  uint32_t id = 0xfffffffeu;  // behind every id, so that a row of -inf gives its first
  int damaged = 0;
  for (int i = threadIdx.x; i < v; i += blockDim.x) {
    damaged |= isnan(row[i]);
    better(top, id, row[i], i);
  }
  damaged = __syncthreads_or(damaged);
#pragma unroll
  for (int d = 16; d > 0; d >>= 1) better(top, id, __shfl_xor_sync(0xffffffffu, top, d), __shfl_xor_sync(0xffffffffu, id, d));
  if (lane == 0) tops[warp] = top, ids[warp] = id;
  __syncthreads();
  if (threadIdx.x > 0) return;
  for (int w = 1; w < warps; ++w) better(top, id, tops[w], ids[w]);
  out[blockIdx.x] = damaged ? 0xffffffffu : id;
}
