// Causal attention on tensor cores, bf16 with sums in f32, for heads of 64 or 128. The forward is FlashAttention-2's (Dao 2023,
// arXiv:2307.08691); the backward has a kernel for dq and one for dk and dv, so that no sum depends on the order in which blocks run.
#include "common.cuh"

#define TILE 64      // queries or keys of a block
#define THREADS 128  // four warps, 16 rows of the tile each
#define LOG2E 1.4426950408889634f

// A block's tile: the run's first token, the tile's first token in the run, the run's tokens.
struct Tile {
  int base, first, length;
};

__device__ __forceinline__ uint32_t shared_at(const void *p) { return (uint32_t)__cvta_generic_to_shared(p); }

__device__ __forceinline__ void load_matrices(uint32_t (&r)[4], const bf16 *p) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_at(p)));
}

__device__ __forceinline__ void load_turned(uint32_t (&r)[4], const bf16 *p) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_at(p)));
}

__device__ __forceinline__ void multiply(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  multiply(c, a[0], a[1], a[2], a[3], b0, b1);
}

__device__ __forceinline__ uint32_t pair(float low, float high) {
  __nv_bfloat162 both = __floats2bfloat162_rn(low, high);
  return *(uint32_t *)&both;
}

// `bytes` of 16 are copied, the rest is zeros.
__device__ __forceinline__ void copy_16(bf16 *to, const bf16 *from, int bytes) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_at(to)), "l"(from), "r"(bytes));
}
__device__ __forceinline__ void copies_end() { asm volatile("cp.async.commit_group;"); }
template <int N>
__device__ __forceinline__ void copies_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(N));
}

// Starts the copy of ROWS rows of one head from (tokens, heads, D) into shared memory of row length D + 8; rows from `rows` on are zeros.
template <int D, int ROWS>
__device__ __forceinline__ void copy_rows(bf16 *to, const bf16 *from, size_t stride, int rows) {
  constexpr int CHUNKS = D / 8;
#pragma unroll
  for (int i = threadIdx.x; i < ROWS * CHUNKS; i += THREADS) {
    const int row = i / CHUNKS, chunk = i % CHUNKS;
    const bool there = row < rows;
    copy_16(to + row * (D + 8) + chunk * 8, from + (there ? row : 0) * stride + chunk * 8, there ? 16 : 0);
  }
}

// The addresses that a lane gives for four 8 x 8 matrices, in rows of D + 8: as A (16 rows x 16 of depth), as B whose rows are the columns
// of the product (two groups of 8 columns x 16 of depth), and as B whose rows are the depth, turned (16 of depth x two groups of 8).
template <int D>
__device__ __forceinline__ int as_a(int lane) { return (lane & 15) * (D + 8) + (lane >> 4) * 8; }
template <int D>
__device__ __forceinline__ int as_b(int lane) { return ((lane >> 4) * 8 + (lane & 7)) * (D + 8) + ((lane >> 3) & 1) * 8; }

struct Sight {
  float scale, cap;
  int window;
};

// The score of a raw product, in units of log 2, and its slope.
__device__ __forceinline__ float scored(float s, const Sight &sight, float &slope) {
  s *= sight.scale;
  slope = sight.scale;
  if (sight.cap > 0.f) {
    const float t = tanhf(s / sight.cap);
    s = sight.cap * t;
    slope *= 1.f - t * t;
  }
  return s * LOG2E;
}

__device__ __forceinline__ bool seen(int query, int key, const Sight &sight) {
  return key <= query && (sight.window == 0 || key > query - sight.window);
}

template <int D, int KEYS>
__device__ void attention(bf16 *out, float *log_sums, const bf16 *q, const bf16 *k, const bf16 *v, const Tile *tiles, int heads, int kv_heads,
                          Sight sight) {
  extern __shared__ bf16 shared[];
  constexpr int ROW = D + 8, SIZE = TILE * ROW, PART = KEYS * ROW;
  bf16 *sq = shared, *sk = shared + SIZE, *sv = sk + 2 * PART;
  const Tile tile = tiles[blockIdx.x];
  const int head = blockIdx.y, kv = head / (heads / kv_heads);
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, g = lane >> 2, t = lane & 3;
  const size_t q_stride = (size_t)heads * D, k_stride = (size_t)kv_heads * D;
  const bf16 *my_k = k + (size_t)tile.base * k_stride + kv * D, *my_v = v + (size_t)tile.base * k_stride + kv * D;
  const int last = min(tile.length, tile.first + TILE);
  const int start = sight.window > 0 ? max(0, tile.first + 1 - sight.window) / KEYS * KEYS : 0;

  copy_rows<D, TILE>(sq, q + (size_t)(tile.base + tile.first) * q_stride + head * D, q_stride, tile.length - tile.first);
  copy_rows<D, KEYS>(sk, my_k + start * k_stride, k_stride, tile.length - start);
  copy_rows<D, KEYS>(sv, my_v + start * k_stride, k_stride, tile.length - start);
  copies_end();

  float acc[D / 8][4];
#pragma unroll
  for (int i = 0; i < D / 8; ++i) acc[i][0] = acc[i][1] = acc[i][2] = acc[i][3] = 0.f;
  float top[2] = {-INFINITY, -INFINITY}, sum[2] = {0.f, 0.f};
  const int query = tile.first + warp * 16 + g;  // and query + 8
  int stage = 0;
  for (int key = start; key < last; key += KEYS, stage ^= 1) {
    if (key + KEYS < last) {
      const int next = key + KEYS;
      copy_rows<D, KEYS>(sk + (stage ^ 1) * PART, my_k + next * k_stride, k_stride, tile.length - next);
      copy_rows<D, KEYS>(sv + (stage ^ 1) * PART, my_v + next * k_stride, k_stride, tile.length - next);
      copies_end();
      copies_wait<1>();
    } else {
      copies_wait<0>();
    }
    __syncthreads();
    const bf16 *tk = sk + stage * PART, *tv = sv + stage * PART;
    float s[KEYS / 8][4];
#pragma unroll
    for (int i = 0; i < KEYS / 8; ++i) s[i][0] = s[i][1] = s[i][2] = s[i][3] = 0.f;
#pragma unroll
    for (int d = 0; d < D; d += 16) {
      uint32_t a[4], b[4];
      load_matrices(a, sq + warp * 16 * ROW + d + as_a<D>(lane));
#pragma unroll
      for (int n = 0; n < KEYS / 16; ++n) {
        load_matrices(b, tk + n * 16 * ROW + d + as_b<D>(lane));
        multiply(s[2 * n], a, b[0], b[1]);
        multiply(s[2 * n + 1], a, b[2], b[3]);
      }
    }
    const bool whole = key + KEYS - 1 <= tile.first && (sight.window == 0 || key > tile.first + TILE - 1 - sight.window);
    float highest[2] = {top[0], top[1]};
#pragma unroll
    for (int n = 0; n < KEYS / 8; ++n) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        float slope;
        s[n][e] = scored(s[n][e], sight, slope);
        if (!whole && !seen(query + (e >> 1) * 8, key + n * 8 + 2 * t + (e & 1), sight)) s[n][e] = -INFINITY;
        highest[e >> 1] = fmaxf(highest[e >> 1], s[n][e]);
      }
    }
    float correction[2], shift[2];
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      highest[r] = fmaxf(highest[r], __shfl_xor_sync(0xffffffffu, highest[r], 1));
      highest[r] = fmaxf(highest[r], __shfl_xor_sync(0xffffffffu, highest[r], 2));
      // A window may leave nothing to see in the first tiles.
      shift[r] = highest[r] == -INFINITY ? 0.f : highest[r];
      correction[r] = exp2f(top[r] - shift[r]);
      top[r] = highest[r];
      sum[r] *= correction[r];
    }
#pragma unroll
    for (int i = 0; i < D / 8; ++i) {
#pragma unroll
      for (int e = 0; e < 4; ++e) acc[i][e] *= correction[e >> 1];
    }
#pragma unroll
    for (int n = 0; n < KEYS / 8; ++n) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        s[n][e] = exp2f(s[n][e] - shift[e >> 1]);
        sum[e >> 1] += s[n][e];
      }
    }
#pragma unroll
    for (int n = 0; n < KEYS / 16; ++n) {
      const uint32_t a[4] = {pair(s[2 * n][0], s[2 * n][1]), pair(s[2 * n][2], s[2 * n][3]), pair(s[2 * n + 1][0], s[2 * n + 1][1]),
                             pair(s[2 * n + 1][2], s[2 * n + 1][3])};
#pragma unroll
      for (int d = 0; d < D; d += 16) {
        uint32_t b[4];
        load_turned(b, tv + n * 16 * ROW + d + as_a<D>(lane));
        multiply(acc[d / 8], a, b[0], b[1]);
        multiply(acc[d / 8 + 1], a, b[2], b[3]);
      }
    }
    __syncthreads();
  }
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    sum[r] += __shfl_xor_sync(0xffffffffu, sum[r], 1);
    sum[r] += __shfl_xor_sync(0xffffffffu, sum[r], 2);
    const int at = query + 8 * r;
    if (at >= tile.length) continue;
    const size_t token = tile.base + at;
    const float inverse = 1.f / sum[r];
#pragma unroll
    for (int i = 0; i < D / 8; ++i)
      *(uint32_t *)(out + token * q_stride + head * D + i * 8 + 2 * t) = pair(acc[i][2 * r] * inverse, acc[i][2 * r + 1] * inverse);
    if (t == 0) log_sums[token * heads + head] = top[r] / LOG2E + logf(sum[r]);
  }
}

template <int D, int KEYS>
__device__ void attention_dq(bf16 *dq, const bf16 *q, const bf16 *k, const bf16 *v, const bf16 *dout, const float *log_sums,
                             const float *deltas, const Tile *tiles, int heads, int kv_heads, Sight sight) {
  extern __shared__ bf16 shared[];
  constexpr int ROW = D + 8, SIZE = TILE * ROW;
  bf16 *sq = shared, *sd = shared + SIZE, *sk = shared + 2 * SIZE, *sv = sk + KEYS * ROW;
  const Tile tile = tiles[blockIdx.x];
  const int head = blockIdx.y, kv = head / (heads / kv_heads);
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, g = lane >> 2, t = lane & 3;
  const size_t q_stride = (size_t)heads * D, k_stride = (size_t)kv_heads * D;
  const size_t q_at = (size_t)(tile.base + tile.first) * q_stride + head * D;
  const bf16 *my_k = k + (size_t)tile.base * k_stride + kv * D, *my_v = v + (size_t)tile.base * k_stride + kv * D;
  const int last = min(tile.length, tile.first + TILE);
  const int start = sight.window > 0 ? max(0, tile.first + 1 - sight.window) / KEYS * KEYS : 0;
  copy_rows<D, TILE>(sq, q + q_at, q_stride, tile.length - tile.first);
  copy_rows<D, TILE>(sd, dout + q_at, q_stride, tile.length - tile.first);

  const int query = tile.first + warp * 16 + g;
  float log_sum[2], delta[2];
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const bool there = query + 8 * r < tile.length;
    const size_t row = (size_t)(tile.base + query + 8 * r) * heads + head;
    log_sum[r] = there ? log_sums[row] * LOG2E : INFINITY;  // no weight for rows that are not there
    delta[r] = there ? deltas[row] : 0.f;
  }
  float acc[D / 8][4];
#pragma unroll
  for (int i = 0; i < D / 8; ++i) acc[i][0] = acc[i][1] = acc[i][2] = acc[i][3] = 0.f;
  for (int key = start; key < last; key += KEYS) {
    __syncthreads();
    copy_rows<D, KEYS>(sk, my_k + key * k_stride, k_stride, tile.length - key);
    copy_rows<D, KEYS>(sv, my_v + key * k_stride, k_stride, tile.length - key);
    copies_end();
    copies_wait<0>();
    __syncthreads();
    float s[KEYS / 8][4], dp[KEYS / 8][4];
#pragma unroll
    for (int i = 0; i < KEYS / 8; ++i) {
      s[i][0] = s[i][1] = s[i][2] = s[i][3] = 0.f;
      dp[i][0] = dp[i][1] = dp[i][2] = dp[i][3] = 0.f;
    }
#pragma unroll
    for (int d = 0; d < D; d += 16) {
      uint32_t a[4], up[4], b[4];
      load_matrices(a, sq + warp * 16 * ROW + d + as_a<D>(lane));
      load_matrices(up, sd + warp * 16 * ROW + d + as_a<D>(lane));
#pragma unroll
      for (int n = 0; n < KEYS / 16; ++n) {
        load_matrices(b, sk + n * 16 * ROW + d + as_b<D>(lane));
        multiply(s[2 * n], a, b[0], b[1]);
        multiply(s[2 * n + 1], a, b[2], b[3]);
        load_matrices(b, sv + n * 16 * ROW + d + as_b<D>(lane));
        multiply(dp[2 * n], up, b[0], b[1]);
        multiply(dp[2 * n + 1], up, b[2], b[3]);
      }
    }
#pragma unroll
    for (int n = 0; n < KEYS / 8; ++n) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        float slope;
        const float score = scored(s[n][e], sight, slope);
        const float p = seen(query + (e >> 1) * 8, key + n * 8 + 2 * t + (e & 1), sight) ? exp2f(score - log_sum[e >> 1]) : 0.f;
        s[n][e] = p * (dp[n][e] - delta[e >> 1]) * slope;
      }
    }
#pragma unroll
    for (int n = 0; n < KEYS / 16; ++n) {
      const uint32_t a[4] = {pair(s[2 * n][0], s[2 * n][1]), pair(s[2 * n][2], s[2 * n][3]), pair(s[2 * n + 1][0], s[2 * n + 1][1]),
                             pair(s[2 * n + 1][2], s[2 * n + 1][3])};
#pragma unroll
      for (int d = 0; d < D; d += 16) {
        uint32_t b[4];
        load_turned(b, sk + n * 16 * ROW + d + as_a<D>(lane));
        multiply(acc[d / 8], a, b[0], b[1]);
        multiply(acc[d / 8 + 1], a, b[2], b[3]);
      }
    }
  }
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    if (query + 8 * r >= tile.length) continue;
    bf16 *to = dq + (size_t)(tile.base + query + 8 * r) * q_stride + head * D + 2 * t;
#pragma unroll
    for (int i = 0; i < D / 8; ++i) *(uint32_t *)(to + i * 8) = pair(acc[i][2 * r], acc[i][2 * r + 1]);
  }
}

// The part of one query head in dk and dv, (tokens, heads, D) in f32; `attention_join` adds the heads of a group.
template <int D, int QUERIES>
__device__ void attention_dkv(float *dk, float *dv, const bf16 *q, const bf16 *k, const bf16 *v, const bf16 *dout, const float *log_sums,
                              const float *deltas, const Tile *tiles, int heads, int kv_heads, Sight sight) {
  extern __shared__ bf16 shared[];
  constexpr int ROW = D + 8, SIZE = TILE * ROW, PART = QUERIES * ROW;
  bf16 *sk = shared, *sv = shared + SIZE, *sq = shared + 2 * SIZE, *sd = sq + PART;
  float *sl = (float *)(sd + PART), *sdelta = sl + QUERIES;
  // The list begins with what is most work for queries: for keys it is the other way round.
  const Tile tile = tiles[gridDim.x - 1 - blockIdx.x];
  const int head = blockIdx.y, kv = head / (heads / kv_heads);
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, g = lane >> 2, t = lane & 3;
  const size_t q_stride = (size_t)heads * D, k_stride = (size_t)kv_heads * D;
  const size_t k_at = (size_t)(tile.base + tile.first) * k_stride + kv * D;
  copy_rows<D, TILE>(sk, k + k_at, k_stride, tile.length - tile.first);
  copy_rows<D, TILE>(sv, v + k_at, k_stride, tile.length - tile.first);

  const int key = tile.first + warp * 16 + g;
  float acc_k[D / 8][4], acc_v[D / 8][4];
#pragma unroll
  for (int i = 0; i < D / 8; ++i) {
    acc_k[i][0] = acc_k[i][1] = acc_k[i][2] = acc_k[i][3] = 0.f;
    acc_v[i][0] = acc_v[i][1] = acc_v[i][2] = acc_v[i][3] = 0.f;
  }
  const int end = sight.window > 0 ? min(tile.length, tile.first + TILE - 1 + sight.window) : tile.length;
  for (int query = tile.first; query < end; query += QUERIES) {
    __syncthreads();
    const size_t q_at = (size_t)(tile.base + query) * q_stride + head * D;
    copy_rows<D, QUERIES>(sq, q + q_at, q_stride, tile.length - query);
    copy_rows<D, QUERIES>(sd, dout + q_at, q_stride, tile.length - query);
    copies_end();
    if (threadIdx.x < QUERIES) {
      const bool there = query + (int)threadIdx.x < tile.length;
      const size_t row = (size_t)(tile.base + query + threadIdx.x) * heads + head;
      sl[threadIdx.x] = there ? log_sums[row] * LOG2E : INFINITY;
      sdelta[threadIdx.x] = there ? deltas[row] : 0.f;
    }
    copies_wait<0>();
    __syncthreads();
    float s[QUERIES / 8][4], dp[QUERIES / 8][4];
#pragma unroll
    for (int i = 0; i < QUERIES / 8; ++i) {
      s[i][0] = s[i][1] = s[i][2] = s[i][3] = 0.f;
      dp[i][0] = dp[i][1] = dp[i][2] = dp[i][3] = 0.f;
    }
#pragma unroll
    for (int d = 0; d < D; d += 16) {
      uint32_t a[4], values[4], b[4];
      load_matrices(a, sk + warp * 16 * ROW + d + as_a<D>(lane));
      load_matrices(values, sv + warp * 16 * ROW + d + as_a<D>(lane));
#pragma unroll
      for (int n = 0; n < QUERIES / 16; ++n) {
        load_matrices(b, sq + n * 16 * ROW + d + as_b<D>(lane));
        multiply(s[2 * n], a, b[0], b[1]);
        multiply(s[2 * n + 1], a, b[2], b[3]);
        load_matrices(b, sd + n * 16 * ROW + d + as_b<D>(lane));
        multiply(dp[2 * n], values, b[0], b[1]);
        multiply(dp[2 * n + 1], values, b[2], b[3]);
      }
    }
#pragma unroll
    for (int n = 0; n < QUERIES / 8; ++n) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const int column = n * 8 + 2 * t + (e & 1);
        float slope;
        const float score = scored(s[n][e], sight, slope);
        const float p = seen(query + column, key + (e >> 1) * 8, sight) ? exp2f(score - sl[column]) : 0.f;
        s[n][e] = p;
        dp[n][e] = p * (dp[n][e] - sdelta[column]) * slope;
      }
    }
#pragma unroll
    for (int n = 0; n < QUERIES / 16; ++n) {
      const uint32_t p[4] = {pair(s[2 * n][0], s[2 * n][1]), pair(s[2 * n][2], s[2 * n][3]), pair(s[2 * n + 1][0], s[2 * n + 1][1]),
                             pair(s[2 * n + 1][2], s[2 * n + 1][3])};
      const uint32_t ds[4] = {pair(dp[2 * n][0], dp[2 * n][1]), pair(dp[2 * n][2], dp[2 * n][3]),
                              pair(dp[2 * n + 1][0], dp[2 * n + 1][1]), pair(dp[2 * n + 1][2], dp[2 * n + 1][3])};
#pragma unroll
      for (int d = 0; d < D; d += 16) {
        uint32_t b[4];
        load_turned(b, sd + n * 16 * ROW + d + as_a<D>(lane));
        multiply(acc_v[d / 8], p, b[0], b[1]);
        multiply(acc_v[d / 8 + 1], p, b[2], b[3]);
        load_turned(b, sq + n * 16 * ROW + d + as_a<D>(lane));
        multiply(acc_k[d / 8], ds, b[0], b[1]);
        multiply(acc_k[d / 8 + 1], ds, b[2], b[3]);
      }
    }
  }
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    if (key + 8 * r >= tile.length) continue;
    const size_t at = (size_t)(tile.base + key + 8 * r) * q_stride + head * D + 2 * t;
#pragma unroll
    for (int i = 0; i < D / 8; ++i) {
      *(float2 *)(dk + at + i * 8) = make_float2(acc_k[i][2 * r], acc_k[i][2 * r + 1]);
      *(float2 *)(dv + at + i * 8) = make_float2(acc_v[i][2 * r], acc_v[i][2 * r + 1]);
    }
  }
}

// (tokens, K, D) bf16 from (tokens, K, group, D) f32.
extern "C" __global__ void attention_join(bf16 *out, const float *parts, int group, int size, size_t n) {
  for (size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += (size_t)gridDim.x * blockDim.x) {
    const size_t kv = i / size, d = i % size;
    float sum = 0.f;
    for (int h = 0; h < group; ++h) sum += parts[(kv * group + h) * size + d];
    out[i] = __float2bfloat16_rn(sum);
  }
}

#define SIZES(D, KEYS, QUERIES)                                                                                                              \
  extern "C" __global__ void __launch_bounds__(THREADS) attention_mma_##D(bf16 *out, float *log_sums, const bf16 *q, const bf16 *k,   \
                                                                          const bf16 *v, const Tile *tiles, int heads, int kv_heads,  \
                                                                          float scale, float cap, int window) {                       \
    attention<D, KEYS>(out, log_sums, q, k, v, tiles, heads, kv_heads, Sight{scale, cap, window});                                          \
  }                                                                                                                                    \
  extern "C" __global__ void __launch_bounds__(THREADS) attention_mma_dq_##D(                                                         \
      bf16 *dq, const bf16 *q, const bf16 *k, const bf16 *v, const bf16 *dout, const float *log_sums, const float *deltas,            \
      const Tile *tiles, int heads, int kv_heads, float scale, float cap, int window) {                                               \
    attention_dq<D, KEYS>(dq, q, k, v, dout, log_sums, deltas, tiles, heads, kv_heads, Sight{scale, cap, window});                          \
  }                                                                                                                                    \
  extern "C" __global__ void __launch_bounds__(THREADS) attention_mma_dkv_##D(                                                        \
      float *dk, float *dv, const bf16 *q, const bf16 *k, const bf16 *v, const bf16 *dout, const float *log_sums,                     \
      const float *deltas, const Tile *tiles, int heads, int kv_heads, float scale, float cap, int window) {                          \
    attention_dkv<D, QUERIES>(dk, dv, q, k, v, dout, log_sums, deltas, tiles, heads, kv_heads, Sight{scale, cap, window});            \
  }
// Keys, and queries, that a block holds at a time: as many as leave room for three blocks on a multiprocessor.
SIZES(64, 64, 64)
SIZES(128, 32, 32)
