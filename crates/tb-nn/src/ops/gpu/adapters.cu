// The narrow side of low-rank adapters on one input x (N, I), bf16: up to three adapters (of q, k and v, say) of one rank, each with a
// dropout mask of its own, in one reading of x. The other side, s h B', is a product like another.
#include "common.cuh"
#include "philox.cuh"

#define MOST_ADAPTERS 3
#define WARPS 4
// Columns of a warp: eight a lane.
#define SPAN 256

struct Adapter {
  const bf16 *a;  // (r, I)
  bf16 *h;        // (N, r): written by `adapters_down`, read by the others as the gradient of h
  uint8_t *bits;  // (N, I / 8): set where the element is kept; none without dropout
  uint64_t lane;  // of the stream
};

// Which elements are kept, as `dropout` in elementwise.cu has it.
struct Mask {
  uint64_t key;
  uint32_t purpose, first_row, threshold;
  float scale;
  int width;  // tokens of a row of the batch
};

__device__ __forceinline__ float kept(float v, uint32_t bits, int k) { return bits >> k & 1 ? v : 0.f; }

// h = drop(x) A', and the bits of each mask. ROWS rows a warp.
template <int R, int ROWS>
__device__ void down(const bf16 *x, int n, int width, int rank, int count, const Adapter *adapters, Mask mask) {
  const int lane = threadIdx.x & 31, first = (blockIdx.x * WARPS + (threadIdx.x >> 5)) * ROWS;
  if (first >= n) return;
  float acc[MOST_ADAPTERS][ROWS][R];
#pragma unroll
  for (int a = 0; a < MOST_ADAPTERS; ++a)
#pragma unroll
    for (int row = 0; row < ROWS; ++row)
#pragma unroll
      for (int j = 0; j < R; ++j) acc[a][row][j] = 0.f;
  uint64_t mixes[MOST_ADAPTERS][ROWS];
#pragma unroll
  for (int a = 0; a < MOST_ADAPTERS; ++a)
#pragma unroll
    for (int row = 0; row < ROWS; ++row)
      mixes[a][row] = a < count ? row_stream(adapters[a].lane, mask.first_row + (first + row) / mask.width) : 0;
  const uint2 key = make_uint2((uint32_t)mask.key, (uint32_t)(mask.key >> 32));
  for (int i = 8 * lane; i < width; i += SPAN) {
    float v[ROWS][8];
#pragma unroll
    for (int row = 0; row < ROWS; ++row) {
      if (first + row < n) {
        load_8(v[row], x + (size_t)(first + row) * width + i);
      } else {
#pragma unroll
        for (int k = 0; k < 8; ++k) v[row][k] = 0.f;
      }
    }
#pragma unroll
    for (int a = 0; a < MOST_ADAPTERS; ++a) {
      if (a >= count) break;
      const Adapter adapter = adapters[a];
      float d[ROWS][8];
#pragma unroll
      for (int row = 0; row < ROWS; ++row) {
        uint32_t bits = 0xff;
        if (adapter.bits) {
          // The place in the row of the batch, in blocks of four words.
          const uint32_t block = (uint32_t)(((size_t)((first + row) % mask.width) * width + i) / 4);
          const uint4 low = philox_of(block, mask.purpose, mixes[a][row], key), high = philox_of(block + 1, mask.purpose, mixes[a][row], key);
          const uint32_t word[8] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
          bits = 0;
#pragma unroll
          for (int k = 0; k < 8; ++k) bits |= (uint32_t)(word[k] >= mask.threshold) << k;
          if (first + row < n) adapter.bits[((size_t)(first + row) * width + i) / 8] = (uint8_t)bits;
        }
#pragma unroll
        for (int k = 0; k < 8; ++k) d[row][k] = kept(v[row][k], bits, k);
      }
#pragma unroll
      for (int j = 0; j < R; ++j) {
        if (j >= rank) break;
        float w[8];
        load_8(w, adapter.a + (size_t)j * width + i);
#pragma unroll
        for (int row = 0; row < ROWS; ++row)
#pragma unroll
          for (int k = 0; k < 8; ++k) acc[a][row][j] += d[row][k] * w[k];
      }
    }
  }
#pragma unroll
  for (int a = 0; a < MOST_ADAPTERS; ++a)
#pragma unroll
    for (int row = 0; row < ROWS; ++row)
#pragma unroll
      for (int j = 0; j < R; ++j) {
        const float h = warp_sum(acc[a][row][j]);
        if (lane == 0 && a < count && j < rank && first + row < n)
          adapters[a].h[(size_t)(first + row) * rank + j] = __float2bfloat16_rn(h * mask.scale);
      }
}

// dx += drop'(dh A) of every adapter. A block has SPAN columns; its warps share the rows of a chunk.
template <int R>
__device__ void back(bf16 *dx, int n, int width, int rank, int count, const Adapter *adapters, float scale, int chunk) {
  __shared__ bf16 shared[MOST_ADAPTERS * R * SPAN];
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, i = blockIdx.x * SPAN + 8 * lane;
  for (int at = threadIdx.x; at < count * rank * SPAN; at += blockDim.x) {
    const int a = at / (rank * SPAN), j = at / SPAN % rank, column = blockIdx.x * SPAN + at % SPAN;
    shared[(a * R + j) * SPAN + at % SPAN] = column < width ? adapters[a].a[(size_t)j * width + column] : __float2bfloat16_rn(0.f);
  }
  __syncthreads();
  if (i >= width) return;
  const int end = min(n, (int)(blockIdx.y + 1) * chunk);
  for (int row = blockIdx.y * chunk + warp; row < end; row += WARPS) {
    bf16 *to = dx + (size_t)row * width + i;
    float sum[8];
    load_8(sum, to);
#pragma unroll
    for (int a = 0; a < MOST_ADAPTERS; ++a) {
      if (a >= count) break;
      float t[8] = {};
#pragma unroll
      for (int j = 0; j < R; ++j) {
        if (j >= rank) break;
        float w[8];
        load_8(w, shared + (a * R + j) * SPAN + 8 * lane);
        const float g = __bfloat162float(adapters[a].h[(size_t)row * rank + j]);
#pragma unroll
        for (int k = 0; k < 8; ++k) t[k] += g * w[k];
      }
      const uint32_t bits = adapters[a].bits ? adapters[a].bits[((size_t)row * width + i) / 8] : 0xff;
#pragma unroll
      for (int k = 0; k < 8; ++k) sum[k] += scale * kept(t[k], bits, k);
    }
    store_8(to, sum);
  }
}

// The part of each chunk of rows in dA = dh' drop(x): (chunks, adapters, r, I) f32. A block has SPAN columns of one adapter.
template <int R>
__device__ void of_a(float *parts, const bf16 *x, int n, int width, int rank, int count, const Adapter *adapters, int chunk) {
  __shared__ float shared[R * SPAN];
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, i = blockIdx.x * SPAN + 8 * lane;
  const Adapter adapter = blockIdx.z == 0 ? adapters[0] : blockIdx.z == 1 ? adapters[1] : adapters[2];
  float acc[R][8];
#pragma unroll
  for (int j = 0; j < R; ++j)
#pragma unroll
    for (int k = 0; k < 8; ++k) acc[j][k] = 0.f;
  const int end = min(n, (int)(blockIdx.y + 1) * chunk);
  if (i < width) {
    for (int row = blockIdx.y * chunk + warp; row < end; row += WARPS) {
      float v[8];
      load_8(v, x + (size_t)row * width + i);
      const uint32_t bits = adapter.bits ? adapter.bits[((size_t)row * width + i) / 8] : 0xff;
#pragma unroll
      for (int k = 0; k < 8; ++k) v[k] = kept(v[k], bits, k);
#pragma unroll
      for (int j = 0; j < R; ++j) {
        if (j >= rank) break;
        const float g = __bfloat162float(adapter.h[(size_t)row * rank + j]);
#pragma unroll
        for (int k = 0; k < 8; ++k) acc[j][k] += g * v[k];
      }
    }
  }
  // The warps add up one after the other.
  for (int w = 0; w < WARPS; ++w) {
    if (warp == w) {
#pragma unroll
      for (int j = 0; j < R; ++j)
#pragma unroll
        for (int k = 0; k < 8; ++k) {
          float *at = shared + j * SPAN + 8 * lane + k;
          *at = w ? *at + acc[j][k] : acc[j][k];
        }
    }
    __syncthreads();
  }
  float *to = parts + ((size_t)blockIdx.y * count + blockIdx.z) * rank * width;
  for (int at = threadIdx.x; at < rank * SPAN; at += blockDim.x) {
    const int column = blockIdx.x * SPAN + at % SPAN;
    if (column < width) to[(size_t)(at / SPAN) * width + column] = shared[at];
  }
}

// out[i] = scale times the sum over the chunks, in order.
extern "C" __global__ void adapters_join(float *out, const float *parts, int chunks, size_t stride, float scale, size_t n) {
  for (size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += (size_t)gridDim.x * blockDim.x) {
    float sum = 0.f;
    for (int c = 0; c < chunks; ++c) sum += parts[c * stride + i];
    out[i] = sum * scale;
  }
}

// Three adapters as parameters of a kernel, and as an array in it.
#define EACH(n) const bf16 *a##n, bf16 *h##n, uint8_t *bits##n, uint64_t lane##n
#define ALL const Adapter adapters[MOST_ADAPTERS] = {{a0, h0, bits0, lane0}, {a1, h1, bits1, lane1}, {a2, h2, bits2, lane2}}

#define RANKS(R, ROWS)                                                                                                                   \
  extern "C" __global__ void __launch_bounds__(32 * WARPS) adapters_down_##R(                                                           \
      const bf16 *x, int n, int width, int rank, int count, EACH(0), EACH(1), EACH(2), uint64_t key, uint32_t purpose,                   \
      uint32_t first_row, uint32_t threshold, float scale, int tokens) {                                                                 \
    ALL;                                                                                                                                 \
    down<R, ROWS>(x, n, width, rank, count, adapters, Mask{key, purpose, first_row, threshold, scale, tokens});                         \
  }                                                                                                                                      \
  extern "C" __global__ void __launch_bounds__(32 * WARPS) adapters_back_##R(                                                           \
      bf16 *dx, int n, int width, int rank, int count, EACH(0), EACH(1), EACH(2), float scale, int chunk) {                             \
    ALL;                                                                                                                                 \
    back<R>(dx, n, width, rank, count, adapters, scale, chunk);                                                                         \
  }                                                                                                                                      \
  extern "C" __global__ void __launch_bounds__(32 * WARPS) adapters_of_a_##R(                                                           \
      float *parts, const bf16 *x, int n, int width, int rank, int count, EACH(0), EACH(1), EACH(2), int chunk) {                       \
    ALL;                                                                                                                                 \
    of_a<R>(parts, x, n, width, rank, count, adapters, chunk);                                                                          \
  }
RANKS(8, 2)
RANKS(16, 1)
