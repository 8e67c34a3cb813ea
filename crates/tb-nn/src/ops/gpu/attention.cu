// Causal attention with grouped heads for heads of any size up to 256, in f32 maths: a warp per query, or per key in the backward.
// Heads are read from and written to (tokens, heads, size). The tensor cores' path for usual sizes is in attention_mma.cu.
#include "common.cuh"

// A run of tokens that attend among themselves begins at `runs[2 i]` and has `runs[2 i + 1]` tokens; `run_of[token]` is its number,
// or -1 for padding.
struct Sight {
  float scale, cap;
  int window;  // 0: every token before
};

__device__ __forceinline__ float scored(float s, const Sight &sight, float &slope) {
  s *= sight.scale;
  slope = sight.scale;
  if (sight.cap > 0.f) {
    const float t = tanhf(s / sight.cap);
    s = sight.cap * t;
    slope *= 1.f - t * t;
  }
  return s;
}

#define WARPS 4
#define MOST 256
#define SLOTS (MOST / 32)

template <typename T>
__device__ __forceinline__ float dot_row(const float *mine, const T *row, int size) {
  float s = 0.f;
  for (int d = 0; d < size; ++d) s += mine[d] * widen(row[d]);
  return s;
}

template <typename T>
__device__ void attention(T *out, float *log_sums, const T *q, const T *k, const T *v, const int *run_of, const int *runs, int tokens,
                          int heads, int kv_heads, int size, Sight sight) {
  __shared__ float mine[WARPS][MOST];
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
  const int token = blockIdx.x * WARPS + warp, head = blockIdx.y;
  if (token >= tokens) return;
  const int kv = head / (heads / kv_heads), run = run_of[token];
  const size_t at = ((size_t)token * heads + head) * size;
  if (run < 0) {
    for (int d = lane; d < size; d += 32) narrow(out[at + d], 0.f);
    if (lane == 0) log_sums[(size_t)token * heads + head] = 0.f;
    return;
  }
  for (int d = lane; d < size; d += 32) mine[warp][d] = widen(q[at + d]);
  __syncwarp();
  const int base = runs[2 * run], here = token - base;
  const int first = sight.window > 0 ? max(0, here + 1 - sight.window) : 0;
  float top = -INFINITY, sum = 0.f, acc[SLOTS];
#pragma unroll
  for (int i = 0; i < SLOTS; ++i) acc[i] = 0.f;
  for (int tile = first; tile <= here; tile += 32) {
    const int key = tile + lane;
    float s = -INFINITY, slope;
    if (key <= here) s = scored(dot_row(mine[warp], k + ((size_t)(base + key) * kv_heads + kv) * size, size), sight, slope);
    const float higher = fmaxf(top, warp_max(s));
    const float correction = __expf(top - higher);
    const float p = key <= here ? __expf(s - higher) : 0.f;
    sum = sum * correction + warp_sum(p);
    top = higher;
#pragma unroll
    for (int i = 0; i < SLOTS; ++i) acc[i] *= correction;
    const int n = min(32, here - tile + 1);
    for (int j = 0; j < n; ++j) {
      const float weight = __shfl_sync(0xffffffffu, p, j);
      const T *row = v + ((size_t)(base + tile + j) * kv_heads + kv) * size;
#pragma unroll
      for (int i = 0; i < SLOTS; ++i)
        if (lane + 32 * i < size) acc[i] += weight * widen(row[lane + 32 * i]);
    }
  }
#pragma unroll
  for (int i = 0; i < SLOTS; ++i)
    if (lane + 32 * i < size) narrow(out[at + lane + 32 * i], acc[i] / sum);
  if (lane == 0) log_sums[(size_t)token * heads + head] = top + logf(sum);
}
#define P(T)                                                                                                                     \
  (T * out, float *log_sums, const T *q, const T *k, const T *v, const int *run_of, const int *runs, int tokens, int heads,      \
   int kv_heads, int size, float scale, float cap, int window)
BOTH(attention, P, (out, log_sums, q, k, v, run_of, runs, tokens, heads, kv_heads, size, Sight{scale, cap, window}))
#undef P

// deltas[token][head] = out . dout.
template <typename T>
__device__ void attention_deltas(float *deltas, const T *out, const T *dout, int rows, int size) {
  const int lane = threadIdx.x & 31, row = blockIdx.x * (blockDim.x >> 5) + (threadIdx.x >> 5);
  if (row >= rows) return;
  float s = 0.f;
  for (int d = lane; d < size; d += 32) s += widen(out[(size_t)row * size + d]) * widen(dout[(size_t)row * size + d]);
  s = warp_sum(s);
  if (lane == 0) deltas[row] = s;
}
#define P(T) (float *deltas, const T *out, const T *dout, int rows, int size)
BOTH(attention_deltas, P, (deltas, out, dout, rows, size))
#undef P

template <typename T>
__device__ void attention_dq(T *dq, const T *q, const T *k, const T *v, const T *dout, const float *log_sums, const float *deltas,
                             const int *run_of, const int *runs, int tokens, int heads, int kv_heads, int size, Sight sight) {
  __shared__ float mine[WARPS][MOST], upstream[WARPS][MOST];
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
  const int token = blockIdx.x * WARPS + warp, head = blockIdx.y;
  if (token >= tokens) return;
  const int kv = head / (heads / kv_heads), run = run_of[token];
  const size_t at = ((size_t)token * heads + head) * size;
  if (run < 0) {
    for (int d = lane; d < size; d += 32) narrow(dq[at + d], 0.f);
    return;
  }
  for (int d = lane; d < size; d += 32) {
    mine[warp][d] = widen(q[at + d]);
    upstream[warp][d] = widen(dout[at + d]);
  }
  __syncwarp();
  const float log_sum = log_sums[(size_t)token * heads + head], delta = deltas[(size_t)token * heads + head];
  const int base = runs[2 * run], here = token - base;
  const int first = sight.window > 0 ? max(0, here + 1 - sight.window) : 0;
  float acc[SLOTS];
#pragma unroll
  for (int i = 0; i < SLOTS; ++i) acc[i] = 0.f;
  for (int tile = first; tile <= here; tile += 32) {
    const int key = tile + lane;
    float ds = 0.f;
    if (key <= here) {
      const size_t row = ((size_t)(base + key) * kv_heads + kv) * size;
      float slope;
      const float s = scored(dot_row(mine[warp], k + row, size), sight, slope);
      ds = __expf(s - log_sum) * (dot_row(upstream[warp], v + row, size) - delta) * slope;
    }
    const int n = min(32, here - tile + 1);
    for (int j = 0; j < n; ++j) {
      const float weight = __shfl_sync(0xffffffffu, ds, j);
      const T *row = k + ((size_t)(base + tile + j) * kv_heads + kv) * size;
#pragma unroll
      for (int i = 0; i < SLOTS; ++i)
        if (lane + 32 * i < size) acc[i] += weight * widen(row[lane + 32 * i]);
    }
  }
#pragma unroll
  for (int i = 0; i < SLOTS; ++i)
    if (lane + 32 * i < size) narrow(dq[at + lane + 32 * i], acc[i]);
}
#define P(T)                                                                                                                   \
  (T * dq, const T *q, const T *k, const T *v, const T *dout, const float *log_sums, const float *deltas, const int *run_of,   \
   const int *runs, int tokens, int heads, int kv_heads, int size, float scale, float cap, int window)
BOTH(attention_dq, P,
     (dq, q, k, v, dout, log_sums, deltas, run_of, runs, tokens, heads, kv_heads, size, Sight{scale, cap, window}))
#undef P

// A warp per key and key/value head; the query heads of its group one after the other, so that the sum has one order.
template <typename T>
__device__ void attention_dkv(T *dk, T *dv, const T *q, const T *k, const T *v, const T *dout, const float *log_sums, const float *deltas,
                              const int *run_of, const int *runs, int tokens, int heads, int kv_heads, int size, Sight sight) {
  __shared__ float my_k[WARPS][MOST], my_v[WARPS][MOST];
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
  const int token = blockIdx.x * WARPS + warp, kv = blockIdx.y;
  if (token >= tokens) return;
  const int run = run_of[token];
  const size_t at = ((size_t)token * kv_heads + kv) * size;
  float acc_k[SLOTS], acc_v[SLOTS];
#pragma unroll
  for (int i = 0; i < SLOTS; ++i) acc_k[i] = acc_v[i] = 0.f;
  if (run >= 0) {
    for (int d = lane; d < size; d += 32) {
      my_k[warp][d] = widen(k[at + d]);
      my_v[warp][d] = widen(v[at + d]);
    }
    __syncwarp();
    const int base = runs[2 * run], length = runs[2 * run + 1], here = token - base, group = heads / kv_heads;
    const int end = sight.window > 0 ? min(length, here + sight.window) : length;
    for (int head = kv * group; head < (kv + 1) * group; ++head) {
      for (int tile = here; tile < end; tile += 32) {
        const int query = tile + lane;
        float p = 0.f, ds = 0.f;
        if (query < end) {
          const size_t row = ((size_t)(base + query) * heads + head);
          float slope;
          const float s = scored(dot_row(my_k[warp], q + row * size, size), sight, slope);
          p = __expf(s - log_sums[row]);
          ds = p * (dot_row(my_v[warp], dout + row * size, size) - deltas[row]) * slope;
        }
        const int n = min(32, end - tile);
        for (int j = 0; j < n; ++j) {
          const float of_v = __shfl_sync(0xffffffffu, p, j), of_k = __shfl_sync(0xffffffffu, ds, j);
          const size_t row = ((size_t)(base + tile + j) * heads + head) * size;
#pragma unroll
          for (int i = 0; i < SLOTS; ++i) {
            if (lane + 32 * i < size) {
              acc_v[i] += of_v * widen(dout[row + lane + 32 * i]);
              acc_k[i] += of_k * widen(q[row + lane + 32 * i]);
            }
          }
        }
      }
    }
  }
#pragma unroll
  for (int i = 0; i < SLOTS; ++i) {
    if (lane + 32 * i < size) {
      narrow(dk[at + lane + 32 * i], acc_k[i]);
      narrow(dv[at + lane + 32 * i], acc_v[i]);
    }
  }
}
#define P(T)                                                                                                                      \
  (T * dk, T * dv, const T *q, const T *k, const T *v, const T *dout, const float *log_sums, const float *deltas,                 \
   const int *run_of, const int *runs, int tokens, int heads, int kv_heads, int size, float scale, float cap, int window)
BOTH(attention_dkv, P,
     (dk, dv, q, k, v, dout, log_sums, deltas, run_of, runs, tokens, heads, kv_heads, size, Sight{scale, cap, window}))
#undef P

// The cache of one row: (layers, 2, capacity, width) with keys before values, of which `length` tokens are held in each.
struct Cached {
  void *base;
  int length, capacity;
};

// Keys that a block takes before it is worth another one.
#define LEAST_KEYS 256
// Keys of a group of lanes that are under way together.
#define AT_ONCE 4
#define DECODE_THREADS 256

// One new token per row against its cache, which its key and value become a part of: `length` counts them already. A block per row, head and
// share of the keys; LANES lanes take a key, eight of its values each. The last block of a head adds up the shares, in order; its number in
// `arrived` is zero before and after.
template <typename T, int LANES>
__device__ __forceinline__ void decode_attention(T *out, float *parts, unsigned int *arrived, const T *q, const T *k, const T *v,
                                                 const Cached *caches, int layer, int heads, int kv_heads, int size, Sight sight) {
  constexpr int GROUPS = DECODE_THREADS / LANES, MOST_SIZE = 8 * LANES;
  __shared__ float tops[GROUPS], sums[GROUPS], accs[GROUPS][MOST_SIZE];
  __shared__ int is_last;
  const int lane = threadIdx.x % LANES, group = threadIdx.x / LANES;
  const int row = blockIdx.x, head = blockIdx.y, of_group = heads / kv_heads, kv = head / of_group;
  const Cached cache = caches[row];
  const int length = cache.length, width = kv_heads * size, first = sight.window > 0 ? max(0, length - sight.window) : 0;
  const int share = max(LEAST_KEYS, (length - first + (int)gridDim.z - 1) / (int)gridDim.z);
  const int shares = (length - first + share - 1) / share;
  if ((int)blockIdx.z >= shares) return;
  const int from = first + blockIdx.z * share, to = min(length, from + share);
  T *keys = (T *)cache.base + (size_t)layer * 2 * cache.capacity * width, *values = keys + (size_t)cache.capacity * width;
  const T *new_k = k + (size_t)row * width + kv * size, *new_v = v + (size_t)row * width + kv * size;
  if (to == length && head % of_group == 0) {
    const size_t at = (size_t)(length - 1) * width + kv * size;
    for (int d = threadIdx.x; d < size; d += DECODE_THREADS) keys[at + d] = new_k[d], values[at + d] = new_v[d];
  }
  const size_t at = ((size_t)row * heads + head) * size;
  const int mine = 8 * lane;
  const bool whole = size % 8 == 0 && (((uintptr_t)q | (uintptr_t)k | (uintptr_t)v | (uintptr_t)cache.base) & 31) == 0;
  const bool any = mine < size;
  float of_q[8] = {}, acc[8] = {}, top = -INFINITY, sum = 0.f;
  if (any) take_8(of_q, q + at, mine, size, whole);
  for (int base = from; base < to; base += GROUPS * AT_ONCE) {
    float of_k[AT_ONCE][8] = {}, of_v[AT_ONCE][8] = {}, s[AT_ONCE];
#pragma unroll
    for (int u = 0; u < AT_ONCE; ++u) {
      const int key = base + group + GROUPS * u;
      if (!any || key >= to) continue;
      const size_t place = (size_t)key * width + kv * size;
      // What this step adds may not be in its place yet.
      take_8(of_k[u], key == length - 1 ? new_k : keys + place, mine, size, whole);
      take_8(of_v[u], key == length - 1 ? new_v : values + place, mine, size, whole);
    }
    float highest = top;
#pragma unroll
    for (int u = 0; u < AT_ONCE; ++u) {
      s[u] = 0.f;
#pragma unroll
      for (int d = 0; d < 8; ++d) s[u] += of_q[d] * of_k[u][d];
#pragma unroll
      for (int d = LANES / 2; d > 0; d >>= 1) s[u] += __shfl_xor_sync(0xffffffffu, s[u], d);
      float slope;
      s[u] = base + group + GROUPS * u < to ? scored(s[u], sight, slope) : -INFINITY;
      highest = fmaxf(highest, s[u]);
    }
    if (highest == -INFINITY) continue;
    const float correction = __expf(top - highest);
    top = highest;
    sum *= correction;
#pragma unroll
    for (int d = 0; d < 8; ++d) acc[d] *= correction;
#pragma unroll
    for (int u = 0; u < AT_ONCE; ++u) {
      const float p = __expf(s[u] - highest);
      sum += p;
#pragma unroll
      for (int d = 0; d < 8; ++d) acc[d] += p * of_v[u][d];
    }
  }
  if (lane == 0) tops[group] = top, sums[group] = sum;
#pragma unroll
  for (int d = 0; d < 8; ++d) accs[group][mine + d] = acc[d];
  __syncthreads();
  float highest = -INFINITY, total = 0.f;
  for (int g = 0; g < GROUPS; ++g) highest = fmaxf(highest, tops[g]);
  for (int g = 0; g < GROUPS; ++g) total += sums[g] * __expf(tops[g] - highest);
  float *part = parts + (((size_t)row * heads + head) * gridDim.z + blockIdx.z) * (MOST_SIZE + 2);
  for (int d = threadIdx.x; d < size; d += DECODE_THREADS) {
    float y = 0.f;
    for (int g = 0; g < GROUPS; ++g) y += accs[g][d] * __expf(tops[g] - highest);
    if (shares == 1) narrow(out[at + d], y / total);
    else part[2 + d] = y;
  }
  if (shares == 1) return;
  if (threadIdx.x == 0) part[0] = highest, part[1] = total;
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) is_last = atomicInc(arrived + row * heads + head, shares - 1) == (unsigned int)shares - 1;
  __syncthreads();
  if (!is_last) return;
  __threadfence();
  const volatile float *all = parts + ((size_t)row * heads + head) * gridDim.z * (MOST_SIZE + 2);
  highest = -INFINITY, total = 0.f;
  for (int i = 0; i < shares; ++i) highest = fmaxf(highest, all[i * (MOST_SIZE + 2)]);
  for (int i = 0; i < shares; ++i) total += all[i * (MOST_SIZE + 2) + 1] * __expf(all[i * (MOST_SIZE + 2)] - highest);
  for (int d = threadIdx.x; d < size; d += DECODE_THREADS) {
    float y = 0.f;
    for (int i = 0; i < shares; ++i) y += all[i * (MOST_SIZE + 2) + 2 + d] * __expf(all[i * (MOST_SIZE + 2)] - highest);
    narrow(out[at + d], y / total);
  }
}
#define DECODE(LANES)                                                                                                                   \
  template <typename T>                                                                                                                 \
  __device__ __forceinline__ void decode_attention_##LANES(T *out, float *parts, unsigned int *arrived, const T *q, const T *k, const T *v, \
                                                           const Cached *caches, int layer, int heads, int kv_heads, int size, Sight sight) { \
    decode_attention<T, LANES>(out, parts, arrived, q, k, v, caches, layer, heads, kv_heads, size, sight);                              \
  }
DECODE(8)
DECODE(16)
DECODE(32)
#undef DECODE
#define P(T)                                                                                                                          \
  (T * out, float *parts, unsigned int *arrived, const T *q, const T *k, const T *v, const Cached *caches, int layer, int heads,      \
   int kv_heads, int size, float scale, float cap, int window)
#define A (out, parts, arrived, q, k, v, caches, layer, heads, kv_heads, size, Sight{scale, cap, window})
BOTH(decode_attention_8, P, A)
BOTH(decode_attention_16, P, A)
BOTH(decode_attention_32, P, A)
#undef A
#undef P
