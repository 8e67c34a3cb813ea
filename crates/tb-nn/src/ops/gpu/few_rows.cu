// Products of a few rows, bf16 with sums in f32: what a step of decoding does. Their time is that of reading the weights once, so everything that
// is added to a result is added here.
//
// A block makes 16 outputs of 8 or 16 rows; its warps share the depth. The products are of 16 x 8 x 16 on tensor cores. Which depths of memory stand at
// which of a product is free as long as weight and x agree: they are chosen so that a lane's part is eight neighbours in memory, which it loads as 16
// bytes. Lane (g, t) has of every 64 depths 8t to 8t + 7 of both halves, of the outputs g and g + 8 and of the rows g and g + 8 of x.
#include "common.cuh"

#define THREADS 256
#define WARPS (THREADS / 32)
#define OUTPUTS 16
#define ROWS 8  // of one product
#define SPAN 64
#define MOST_PARTS 3
#define MOST_ROWS 16

// y (N, O) = [old +] x W' [+ bias] [+ scale h B'], one of up to three products of one x.
struct Part {
  const bf16 *w;     // (O, I)
  const void *bias;  // (O), f32 where `wide`
  const bf16 *h;     // (N, rank)
  const bf16 *b;     // (O, rank)
  const bf16 *old;   // (N, O)
  bf16 *y;
  int outputs, wide, rank;
  float scale;
};

// Starts the copy of eight values to shared memory, or of zeros where they are not there.
__device__ __forceinline__ void copy_8(uint4 *to, const bf16 *from, bool there) {
  const uint32_t at = (uint32_t)__cvta_generic_to_shared(to);
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(at), "l"(from), "r"(there ? 16 : 0) : "memory");
}

#define EACH(p)                                                                                                            \
  const bf16 *w##p, const void *bias##p, const bf16 *h##p, const bf16 *b##p, const bf16 *old##p, bf16 *y##p, int outputs##p, \
      int wide##p, int rank##p, float scale##p
#define ONE(p) {w##p, bias##p, h##p, b##p, old##p, y##p, outputs##p, wide##p, rank##p, scale##p}

// TILES products of eight rows each; STAGES spans of a warp are under way together.
template <int TILES, int STAGES>
__device__ __forceinline__ void few_rows(const bf16 *x, int n, int width, const Part *parts) {
  constexpr int PIECES = 2 * (2 + TILES), SUMS = OUTPUTS * ROWS * TILES;
  // Each part begins with a block of its own.
  int first = blockIdx.x * OUTPUTS;
  Part part = parts[0];
#pragma unroll
  for (int p = 1; p < MOST_PARTS; ++p) {
    const int end = (part.outputs + OUTPUTS - 1) / OUTPUTS * OUTPUTS;
    if (first < end) break;
    first -= end, part = parts[p];
  }
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, g = lane >> 2, t = lane & 3;
  const bool there[2] = {first + g < part.outputs, first + g + 8 < part.outputs};
  const bf16 *w[2];
#pragma unroll
  for (int o = 0; o < 2; ++o) w[o] = part.w + (there[o] ? (size_t)(first + g + 8 * o) * width : 0);
  // Only the lane that a piece is for copies and reads it: nobody waits for another.
  extern __shared__ uint4 ring[];
  const auto piece = [&](int stage, int half, int k) {
    return ring + (stage % STAGES * PIECES + half * (2 + TILES) + k) * THREADS + threadIdx.x;
  };
  const int spans = (max(width - warp * SPAN, 0) + WARPS * SPAN - 1) / (WARPS * SPAN);
  const auto start = [&](int span) {
    const int at = (span * WARPS + warp) * SPAN + 8 * t;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int i = at + 32 * half;
      const bool in = span < spans && i < width;
#pragma unroll
      for (int o = 0; o < 2; ++o) copy_8(piece(span, half, o), w[o] + (in ? i : 0), in && there[o]);
#pragma unroll
      for (int tile = 0; tile < TILES; ++tile) {
        const bool row = in && ROWS * tile + g < n;
        copy_8(piece(span, half, 2 + tile), x + (row ? (size_t)(ROWS * tile + g) * width + i : 0), row);
      }
    }
    asm volatile("cp.async.commit_group;" ::: "memory");
  };
#pragma unroll
  for (int span = 0; span < STAGES - 1; ++span) start(span);
  float c[TILES][4] = {};
#pragma unroll 1
  for (int span = 0; span < spans; ++span) {
    asm volatile("cp.async.wait_group %0;" ::"n"(STAGES - 2) : "memory");
    start(span + STAGES - 1);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const uint4 a = *piece(span, half, 0), b = *piece(span, half, 1);
#pragma unroll
      for (int tile = 0; tile < TILES; ++tile) {
        const uint4 v = *piece(span, half, 2 + tile);
        multiply(c[tile], a.x, b.x, a.y, b.y, v.x, v.y);
        multiply(c[tile], a.z, b.z, a.w, b.w, v.z, v.w);
      }
    }
  }
  // The copies are read: the ring takes the sums. A lane has of outputs g and g + 8 the rows 2t and 2t + 1 of each product.
  asm volatile("cp.async.wait_all;" ::: "memory");
  __syncthreads();
  float *sums = (float *)ring;
#pragma unroll
  for (int tile = 0; tile < TILES; ++tile)
#pragma unroll
    for (int e = 0; e < 4; ++e)
      sums[warp * SUMS + (g + 8 * (e >> 1)) * ROWS * TILES + ROWS * tile + 2 * t + (e & 1)] = c[tile][e];
  __syncthreads();
  for (int at = threadIdx.x; at < SUMS; at += THREADS) {
    const int out = first + at / (ROWS * TILES), row = at % (ROWS * TILES);
    if (out >= part.outputs || row >= n) continue;
    float sum = 0.f, low = 0.f;
#pragma unroll
    for (int k = 0; k < WARPS; ++k) sum += sums[k * SUMS + at];
    for (int j = 0; j < part.rank; ++j)
      low += __bfloat162float(part.h[row * part.rank + j]) * __bfloat162float(part.b[(size_t)out * part.rank + j]);
    sum += part.scale * low;
    const size_t to = (size_t)row * part.outputs + out;
    if (part.bias) sum += constant(part.bias, part.wide, out);
    if (part.old) sum += __bfloat162float(part.old[to]);
    part.y[to] = __float2bfloat16_rn(sum);
  }
}
#define SIZES(MOST, TILES, STAGES)                                                                                               \
  extern "C" __global__ void __launch_bounds__(THREADS) few_rows_##MOST(const bf16 *x, int n, int width, EACH(0), EACH(1), EACH(2)) { \
    const Part parts[MOST_PARTS] = {ONE(0), ONE(1), ONE(2)};                                                                     \
    few_rows<TILES, STAGES>(x, n, width, parts);                                                                                 \
  }
SIZES(8, 1, 4)
SIZES(16, 2, 3)

// h (N, r) = x A' of up to three adapters of one x. A block makes one column of h: ranks are small, and rows of A long.
extern "C" __global__ void __launch_bounds__(THREADS) few_rows_down(const bf16 *x, int n, int width, const bf16 *a0, bf16 *h0, int rank0,
                                                                    const bf16 *a1, bf16 *h1, int rank1, const bf16 *a2, bf16 *h2, int rank2) {
  __shared__ float shared[WARPS][MOST_ROWS];
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
  int j = blockIdx.x, rank = rank0;
  const bf16 *a = a0;
  bf16 *h = h0;
  if (j >= rank) {
    j -= rank, a = a1, h = h1, rank = rank1;
    if (j >= rank) j -= rank, a = a2, h = h2, rank = rank2;
  }
  a += (size_t)j * width;
  float acc[MOST_ROWS] = {};
  for (int i = 8 * threadIdx.x; i < width; i += 8 * THREADS) {
    float v[8], of_x[8];
    load_8(v, a + i);
#pragma unroll
    for (int row = 0; row < MOST_ROWS; ++row) {
      if (row >= n) break;
      load_8(of_x, x + (size_t)row * width + i);
#pragma unroll
      for (int k = 0; k < 8; ++k) acc[row] += of_x[k] * v[k];
    }
  }
#pragma unroll
  for (int row = 0; row < MOST_ROWS; ++row) {
    if (row >= n) break;
    const float sum = warp_sum(acc[row]);
    if (lane == 0) shared[warp][row] = sum;
  }
  __syncthreads();
  if ((int)threadIdx.x >= n) return;
  float sum = 0.f;
  for (int w = 0; w < WARPS; ++w) sum += shared[w][threadIdx.x];
  h[(size_t)threadIdx.x * rank + j] = __float2bfloat16_rn(sum);
}
