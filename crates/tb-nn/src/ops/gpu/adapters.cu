// The narrow side of low-rank adapters on one input x (N, I), bf16: up to three adapters (of q, k and v, say) of one rank, each with a
// dropout mask of its own, in one reading of x. The other side, s h B', is a product like another.
//
// The products are of 16 x 8 x 16 (or 8 deep) on tensor cores, bf16 with sums in f32. Which column or row of memory stands at which
// place of such a product is free as long as its sides agree: it is chosen so that a lane's part is eight neighbours in memory, which
// it loads as 16 bytes, and nothing is turned in shared memory. Below, g = lane / 4 and t = lane % 4, as in the layout of the parts:
// of the left side rows g and g + 8 at depths 2t, 2t + 1 (and 8 more), of the right side column g at the same depths, of the sum rows
// g and g + 8 at columns 2t and 2t + 1.
#include "common.cuh"
#include "philox.cuh"

#define MOST_ADAPTERS 3
#define WARPS 4
// Warps of a block of `adapters_down`, at most: each has every so many columns.
#define WARPS_DOWN 8
// Rows of a product, and columns of a warp.
#define ROWS 16
#define SPAN 64

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

__device__ __forceinline__ void multiply(float (&c)[4], uint32_t a0, uint32_t a1, uint32_t b0) {
  asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"
               : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
               : "r"(a0), "r"(a1), "r"(b0));
}
// Four bytes of two words by the digits of `which`; a digit of 8 and more takes the sign of a byte eight times.
__device__ __forceinline__ uint32_t bytes_of(uint32_t a, uint32_t b, uint32_t which) {
  uint32_t out;
  asm("prmt.b32 %0, %1, %2, %3;" : "=r"(out) : "r"(a), "r"(b), "r"(which));
  return out;
}
#define LOW_HALVES 0x5410
#define HIGH_HALVES 0x7632

__device__ __forceinline__ float kept(float v, uint32_t bits, int k) { return bits >> k & 1 ? v : 0.f; }

__device__ __forceinline__ void words_of(uint32_t *out, uint4 v) { out[0] = v.x, out[1] = v.y, out[2] = v.z, out[3] = v.w; }
// Eight values at `i`, zeros where they are not there.
__device__ __forceinline__ void take(uint32_t *out, const bf16 *values, size_t i, bool there) {
  words_of(out, there ? *(const uint4 *)(values + i) : make_uint4(0, 0, 0, 0));
}
__device__ __forceinline__ uint32_t half_at(const bf16 *values, size_t i, bool there) { return there ? ((const uint16_t *)values)[i] : 0; }

#define PHILOX_0 0xD2511F53u
#define PHILOX_1 0xCD9E8D57u

// What is left of the first two rounds of `philox` where only the block changes.
__device__ __forceinline__ uint4 philox_begun(uint32_t purpose, uint64_t stream, uint2 key) {
  const uint32_t low = PHILOX_1 * (uint32_t)stream, x = __umulhi(PHILOX_1, (uint32_t)stream) ^ purpose ^ key.x;
  const uint32_t second = __umulhi(PHILOX_0, x) ^ (key.y + 0xBB67AE85u);
  return make_uint4((uint32_t)(stream >> 32) ^ key.y, low ^ (key.x + 0x9E3779B9u), second, PHILOX_0 * x);
}
// The keys of the rounds after these, made once.
struct Keys {
  uint32_t x[8], y[8];

  __device__ __forceinline__ Keys(uint2 key) {
#pragma unroll
    for (uint32_t k = 0; k < 8; ++k) x[k] = key.x + (k + 2) * 0x9E3779B9u, y[k] = key.y + (k + 2) * 0xBB67AE85u;
  }
};
// As `philox_of` of a block.
__device__ __forceinline__ uint4 philox_from(uint32_t block, uint4 begun, const Keys &keys) {
  const uint32_t z = __umulhi(PHILOX_0, block) ^ begun.x;
  uint4 c = make_uint4(__umulhi(PHILOX_1, z) ^ begun.y, PHILOX_1 * z, (PHILOX_0 * block) ^ begun.z, begun.w);
#pragma unroll
  for (int k = 0; k < 8; ++k) {
    const uint32_t high0 = __umulhi(PHILOX_0, c.x), low0 = PHILOX_0 * c.x, high1 = __umulhi(PHILOX_1, c.z), low1 = PHILOX_1 * c.z;
    c = make_uint4(high1 ^ c.y ^ keys.x[k], low1, high0 ^ c.w ^ keys.y[k], low0);
  }
  return c;
}

// h = drop(x) A', and the bits of each mask. A block has ROWS rows, a warp of it every so many groups of SPAN columns: lane (g, t) has
// columns 16t to 16t + 15 of the group in rows g and g + 8.
template <int R>
__device__ void down(const bf16 *x, int n, int width, int rank, int count, const Adapter *adapters, Mask mask) {
  __shared__ float shared[WARPS_DOWN * MOST_ADAPTERS * (R / 8) * 4 * 32];
  __shared__ uint4 begun[MOST_ADAPTERS][ROWS];
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, warps = blockDim.x >> 5, g = lane >> 2, t = lane & 3;
  const int first = blockIdx.x * ROWS;
  const uint2 key = make_uint2((uint32_t)mask.key, (uint32_t)(mask.key >> 32));
  const Keys keys(key);
  for (int at = threadIdx.x; at < MOST_ADAPTERS * ROWS; at += blockDim.x) {
    const int a = at / ROWS, row = at % ROWS;
    const uint64_t of = a == 0 ? adapters[0].lane : a == 1 ? adapters[1].lane : adapters[2].lane;
    begun[a][row] = philox_begun(mask.purpose, row_stream(of, mask.first_row + (first + row) / mask.width), key);
  }
  __syncthreads();
  const bool whole = width % 16 == 0;
  float acc[MOST_ADAPTERS][R / 8][4] = {};
  // The places of both rows in the row of the batch, in blocks of four words.
  const uint32_t place[2] = {(uint32_t)((first + g) % mask.width) * (uint32_t)(width / 4),
                             (uint32_t)((first + g + 8) % mask.width) * (uint32_t)(width / 4)};
#pragma unroll 1
  for (int start = warp * SPAN; start < width; start += warps * SPAN) {
    const int i = start + 16 * t;
    uint32_t v[2][8];
#pragma unroll
    for (int row = 0; row < 2; ++row)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int at = first + g + 8 * row;
        take(v[row] + 4 * half, x, (size_t)at * width + i + 8 * half, at < n && i + 8 * half < width);
      }
#pragma unroll 1
    for (int a = 0; a < count; ++a) {
      const bf16 *from = a == 0 ? adapters[0].a : a == 1 ? adapters[1].a : adapters[2].a;
      uint8_t *bits = a == 0 ? adapters[0].bits : a == 1 ? adapters[1].bits : adapters[2].bits;
      uint32_t w[R / 8][8], d[2][8];
#pragma unroll
      for (int j = 0; j < R / 8; ++j)
#pragma unroll
        for (int half = 0; half < 2; ++half)
          take(w[j] + 4 * half, from, (size_t)(g + 8 * j) * width + i + 8 * half, g + 8 * j < rank && i + 8 * half < width);
      if (bits) {
        uint32_t flags[2] = {0, 0};
#pragma unroll
        for (int row = 0; row < 2; ++row) {
          const uint4 of = begun[a][g + 8 * row];
          uint32_t both = 0;  // elements at even places in the low half, at odd ones in the high half, two bits apart
#pragma unroll
          for (int k = 0; k < 4; ++k) {
            const uint4 word = philox_from(place[row] + i / 4 + k, of, keys);
            const uint32_t one = (word.x >= mask.threshold ? 0xffffu : 0) | (word.y >= mask.threshold ? 0xffff0000u : 0);
            const uint32_t two = (word.z >= mask.threshold ? 0xffffu : 0) | (word.w >= mask.threshold ? 0xffff0000u : 0);
            both |= (one & 0x00010001u << 4 * k) | (two & 0x00040004u << 4 * k);
            d[row][2 * k] = v[row][2 * k] & one;
            d[row][2 * k + 1] = v[row][2 * k + 1] & two;
          }
          flags[row] = (both & 0x5555u) | (both >> 15 & 0xaaaau);
        }
        // Two bytes a row.
        uint8_t *to = bits + ((size_t)(first + g) * width + i) / 8;
        const size_t below = (size_t)width;  // eight rows
        const bool rows[2] = {i < width && first + g < n, i < width && first + g + 8 < n};
        if (whole && (uintptr_t)bits % 2 == 0) {
          if (rows[0]) *(uint16_t *)to = (uint16_t)flags[0];
          if (rows[1]) *(uint16_t *)(to + below) = (uint16_t)flags[1];
        } else {
#pragma unroll
          for (int row = 0; row < 2; ++row) {
            if (rows[row]) to[row * below] = (uint8_t)flags[row];
            if (rows[row] && i + 8 < width) to[row * below + 1] = (uint8_t)(flags[row] >> 8);
          }
        }
      } else {
#pragma unroll
        for (int row = 0; row < 2; ++row)
#pragma unroll
          for (int k = 0; k < 8; ++k) d[row][k] = v[row][k];
      }
      const auto add = [&](float (&to)[R / 8][4]) {
#pragma unroll
        for (int k = 0; k < 8; k += 2)
#pragma unroll
          for (int j = 0; j < R / 8; ++j) multiply(to[j], d[0][k], d[1][k], d[0][k + 1], d[1][k + 1], w[j][k], w[j][k + 1]);
      };
      if (a == 0) add(acc[0]);
      else if (a == 1) add(acc[1]);
      else add(acc[2]);
    }
  }
  // Sums over the warps, in order.
  constexpr int VALUES = MOST_ADAPTERS * (R / 8) * 4 * 32;
#pragma unroll
  for (int a = 0; a < MOST_ADAPTERS; ++a)
#pragma unroll
    for (int j = 0; j < R / 8; ++j)
#pragma unroll
      for (int k = 0; k < 4; ++k) shared[warp * VALUES + ((a * (R / 8) + j) * 4 + k) * 32 + lane] = acc[a][j][k];
  __syncthreads();
  for (int at = threadIdx.x; at < count * (R / 8) * 4 * 32; at += blockDim.x) {
    float sum = 0.f;
    for (int w = 0; w < warps; ++w) sum += shared[w * VALUES + at];
    const int k = at / 32 % 4, j = at / 128 % (R / 8), a = at / 128 / (R / 8);
    const int row = first + g + 8 * (k >> 1), column = 8 * j + 2 * t + (k & 1);
    bf16 *h = a == 0 ? adapters[0].h : a == 1 ? adapters[1].h : adapters[2].h;
    if (row < n && column < rank) h[(size_t)row * rank + column] = __float2bfloat16_rn(sum * mask.scale);
  }
}

// dx += drop'(dh A) of every adapter. A warp has SPAN columns and the rows of a chunk: lane (g, t) has columns 8t to 8t + 7 of both
// halves in rows g and g + 8 of each ROWS. WHOLE: pairs of dh and the bits of SPAN columns are whole aligned words.
template <int R, int COUNT, bool WHOLE>
__device__ void back(bf16 *dx, int n, int width, int rank, const Adapter *adapters, float scale, int chunk) {
  const int lane = threadIdx.x & 31, g = lane >> 2, t = lane & 3, start = (blockIdx.x * WARPS + (threadIdx.x >> 5)) * SPAN;
  if (start >= width) return;
  // A of the columns, in the places of the right side: two rows of it in a word.
  uint32_t w[COUNT][R / 8][8];
#pragma unroll
  for (int a = 0; a < COUNT; ++a)
#pragma unroll
    for (int j = 0; j < R / 8; ++j)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int at = 8 * j + 2 * t, i = start + 32 * half + 8 * (g >> 1);
        uint32_t even[4], odd[4];
        take(even, adapters[a].a, (size_t)at * width + i, at < rank && i < width);
        take(odd, adapters[a].a, (size_t)(at + 1) * width + i, at + 1 < rank && i < width);
#pragma unroll
        for (int k = 0; k < 4; ++k) w[a][j][4 * half + k] = bytes_of(even[k], odd[k], g & 1 ? HIGH_HALVES : LOW_HALVES);
      }
  const int end = min(n, (int)(blockIdx.y + 1) * chunk);
#pragma unroll 1
  for (int first = blockIdx.y * chunk; first < end; first += ROWS) {
    uint32_t old[2][2][4], d[COUNT][R / 8][2], bits[COUNT][2][2];  // bits of the halves, later in the low byte
#pragma unroll
    for (int row = 0; row < 2; ++row) {
      const int at = first + g + 8 * row;
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int i = start + 32 * half + 8 * t;
        take(old[row][half], dx, (size_t)at * width + i, at < end && i < width);
      }
#pragma unroll
      for (int a = 0; a < COUNT; ++a) {
#pragma unroll
        for (int j = 0; j < R / 8; ++j) {
          const int k = 8 * j + 2 * t;
          const size_t from = (size_t)at * rank + k;
          if constexpr (WHOLE) {
            d[a][j][row] = at < end && k < rank ? *(const uint32_t *)(adapters[a].h + from) : 0;
          } else {
            d[a][j][row] = half_at(adapters[a].h, from, at < end && k < rank);
            d[a][j][row] |= half_at(adapters[a].h, from + 1, at < end && k + 1 < rank) << 16;
          }
        }
        if constexpr (WHOLE) {
          uint2 both = make_uint2(~0u, ~0u);
          if (at < end && adapters[a].bits) both = *(const uint2 *)(adapters[a].bits + ((size_t)at * width + start) / 8);
          bits[a][row][0] = both.x, bits[a][row][1] = both.y;
        } else {
#pragma unroll
          for (int half = 0; half < 2; ++half) {
            const int i = start + 32 * half + 8 * t;
            bits[a][row][half] = at < end && i < width && adapters[a].bits ? adapters[a].bits[((size_t)at * width + i) / 8] : 0xff;
          }
        }
      }
    }
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float sum[2][8];
#pragma unroll
      for (int row = 0; row < 2; ++row)
#pragma unroll
        for (int k = 0; k < 4; ++k) {
          sum[row][2 * k] = __uint_as_float(old[row][half][k] << 16);
          sum[row][2 * k + 1] = __uint_as_float(old[row][half][k] & 0xffff0000u);
        }
#pragma unroll
      for (int a = 0; a < COUNT; ++a) {
        const uint32_t mine[2] = {bits[a][0][half] >> (WHOLE ? 8 * t : 0), bits[a][1][half] >> (WHOLE ? 8 * t : 0)};
#pragma unroll
        for (int k = 0; k < 4; ++k) {
          float c[4] = {};
          if constexpr (R == 8) multiply(c, d[a][0][0], d[a][0][1], w[a][0][4 * half + k]);
          else multiply(c, d[a][0][0], d[a][0][1], d[a][1][0], d[a][1][1], w[a][0][4 * half + k], w[a][1][4 * half + k]);
#pragma unroll
          for (int e = 0; e < 4; ++e) {
            const int at = 2 * k + (e & 1);
            sum[e >> 1][at] += scale * kept(c[e], mine[e >> 1], at);
          }
        }
      }
      const int i = start + 32 * half + 8 * t;
#pragma unroll
      for (int row = 0; row < 2; ++row) {
        const int at = first + g + 8 * row;
        if (at < end && i < width) store_8(dx + (size_t)at * width + i, sum[row]);
      }
    }
  }
}

template <int R, int COUNT>
__device__ void back(bf16 *dx, int n, int width, int rank, const Adapter *adapters, float scale, int chunk) {
  bool whole = rank % 2 == 0 && width % SPAN == 0;
#pragma unroll
  for (int a = 0; a < COUNT; ++a) whole &= ((uintptr_t)adapters[a].bits % 8 | (uintptr_t)adapters[a].h % 4) == 0;
  if (whole) back<R, COUNT, true>(dx, n, width, rank, adapters, scale, chunk);
  else back<R, COUNT, false>(dx, n, width, rank, adapters, scale, chunk);
}

// What a warp has of a group of ROWS rows: of rows t, t + 4, t + 8 and t + 12 the columns 8g to 8g + 7, and their bits.
template <int COUNT>
struct Group {
  uint32_t x[4][4], bits[COUNT][4];

  __device__ __forceinline__ void load(const bf16 *from, const Adapter *adapters, int first, int end, int i, int width, int t) {
#pragma unroll
    for (int row = 0; row < 4; ++row) {
      const int at = first + 4 * row + t;
      const bool there = at < end && i < width;
      take(x[row], from, (size_t)at * width + i, there);
#pragma unroll
      for (int a = 0; a < COUNT; ++a) bits[a][row] = there && adapters[a].bits ? adapters[a].bits[((size_t)at * width + i) / 8] : 0xff;
    }
  }
};

// The part of each chunk of rows in dA = dh' drop(x): (chunks, adapters, r, I) f32. A block has SPAN columns of every adapter; its warps
// share the rows of a chunk. The product is turned: its rows are columns of x (2k and 2k + 1 of a lane's eight as g and g + 8 of the
// k-th of four), its depth rows of x (t, t + 4, t + 8, t + 12 as 2t, 2t + 1, 2t + 8, 2t + 9), its columns those of dh.
template <int R, int COUNT>
__device__ void of_a(float *parts, const bf16 *x, int n, int width, int rank, const Adapter *adapters, int chunk, float *shared) {
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, g = lane >> 2, t = lane & 3, i = blockIdx.x * SPAN + 8 * g;
  float acc[COUNT][R / 8][4][4] = {};
  const int end = min(n, (int)(blockIdx.y + 1) * chunk);
  int first = blockIdx.y * chunk + warp * ROWS;
  Group<COUNT> next;
  next.load(x, adapters, first, end, i, width, t);
#pragma unroll 1
  for (; first < end; first += WARPS * ROWS) {
    const Group<COUNT> group = next;
    uint32_t bits[COUNT];
#pragma unroll
    for (int a = 0; a < COUNT; ++a)
      bits[a] = bytes_of(group.bits[a][0] | group.bits[a][1] << 8, group.bits[a][2] | group.bits[a][3] << 8, LOW_HALVES);
    uint32_t d[COUNT][R / 8][2];
#pragma unroll
    for (int a = 0; a < COUNT; ++a)
#pragma unroll
      for (int j = 0; j < R / 8; ++j) {
        uint32_t of[4];
#pragma unroll
        for (int row = 0; row < 4; ++row) {
          const int at = first + 4 * row + t, column = 8 * j + g;
          of[row] = half_at(adapters[a].h, (size_t)at * rank + column, at < end && column < rank);
        }
        d[a][j][0] = of[0] | of[1] << 16;
        d[a][j][1] = of[2] | of[3] << 16;
      }
    next.load(x, adapters, first + WARPS * ROWS, end, i, width, t);
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      const uint32_t v[4] = {group.x[0][k], group.x[1][k], group.x[2][k], group.x[3][k]};
      const uint32_t even01 = bytes_of(v[0], v[1], LOW_HALVES), odd01 = bytes_of(v[0], v[1], HIGH_HALVES);
      const uint32_t even23 = bytes_of(v[2], v[3], LOW_HALVES), odd23 = bytes_of(v[2], v[3], HIGH_HALVES);
#pragma unroll
      for (int a = 0; a < COUNT; ++a) {
        // The bits of the two columns as the signs of the bytes, and these as masks of two values: of rows 0 and 1, and 2 and 3.
        const uint32_t even = bits[a] << (7 - 2 * k), odd = bits[a] << (6 - 2 * k);
        const uint32_t a0 = even01 & bytes_of(even, 0, 0x9988), a1 = odd01 & bytes_of(odd, 0, 0x9988);
        const uint32_t a2 = even23 & bytes_of(even, 0, 0xbbaa), a3 = odd23 & bytes_of(odd, 0, 0xbbaa);
#pragma unroll
        for (int j = 0; j < R / 8; ++j) multiply(acc[a][j][k], a0, a1, a2, a3, d[a][j][0], d[a][j][1]);
      }
    }
  }
  // Sums over the warps, in order: of a lane's two rows of dA and eight columns, a warp adds up four columns of one.
#pragma unroll
  for (int a = 0; a < COUNT; ++a)
#pragma unroll
    for (int j = 0; j < R / 8; ++j) {
      __syncthreads();
#pragma unroll
      for (int k = 0; k < 4; ++k)
#pragma unroll
        for (int e = 0; e < 4; ++e) shared[((warp * 4 + k) * 4 + e) * 32 + lane] = acc[a][j][k][e];
      __syncthreads();
      const int odd = warp & 1, half = warp >> 1, row = 8 * j + 2 * t + odd;
      float sum[4] = {};
#pragma unroll
      for (int w = 0; w < WARPS; ++w)
#pragma unroll
        for (int e = 0; e < 4; ++e) sum[e] += shared[((w * 4 + 2 * half + (e >> 1)) * 4 + odd + 2 * (e & 1)) * 32 + lane];
      if (row < rank && i < width) {
        float *to = parts + (((size_t)blockIdx.y * COUNT + a) * rank + row) * width + i + 4 * half;
        *(float4 *)to = make_float4(sum[0], sum[1], sum[2], sum[3]);
      }
    }
}

// out[i] = scale times the sum over the chunks, in order.
extern "C" __global__ void adapters_join(float *out, const float *parts, int chunks, size_t stride, float scale, size_t n) {
  for (size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += (size_t)gridDim.x * blockDim.x) {
    float sum = 0.f;
#pragma unroll 1
    for (int c = 0; c < chunks; c += 16) {
      float part[16];
#pragma unroll
      for (int k = 0; k < 16; ++k) part[k] = c + k < chunks ? parts[(c + k) * stride + i] : 0.f;
#pragma unroll
      for (int k = 0; k < 16; ++k) sum += part[k];
    }
    out[i] = sum * scale;
  }
}

// Three adapters as parameters of a kernel, and as an array in it.
#define EACH(n) const bf16 *a##n, bf16 *h##n, uint8_t *bits##n, uint64_t lane##n
#define ALL const Adapter adapters[MOST_ADAPTERS] = {{a0, h0, bits0, lane0}, {a1, h1, bits1, lane1}, {a2, h2, bits2, lane2}}

#define RANKS(R, BLOCKS, BLOCKS_OF_X)                                                                                                    \
  extern "C" __global__ void __launch_bounds__(32 * WARPS_DOWN, 2) adapters_down_##R(                                                   \
      const bf16 *x, int n, int width, int rank, int count, EACH(0), EACH(1), EACH(2), uint64_t key, uint32_t purpose,                   \
      uint32_t first_row, uint32_t threshold, float scale, int tokens) {                                                                 \
    ALL;                                                                                                                                 \
    down<R>(x, n, width, rank, count, adapters, Mask{key, purpose, first_row, threshold, scale, tokens});                               \
  }                                                                                                                                      \
  extern "C" __global__ void __launch_bounds__(32 * WARPS, BLOCKS_OF_X) adapters_back_##R(                                              \
      bf16 *dx, int n, int width, int rank, int count, EACH(0), EACH(1), EACH(2), float scale, int chunk) {                             \
    ALL;                                                                                                                                 \
    if (count == 1) back<R, 1>(dx, n, width, rank, adapters, scale, chunk);                                                              \
    else if (count == 2) back<R, 2>(dx, n, width, rank, adapters, scale, chunk);                                                         \
    else back<R, 3>(dx, n, width, rank, adapters, scale, chunk);                                                                         \
  }                                                                                                                                      \
  extern "C" __global__ void __launch_bounds__(32 * WARPS, BLOCKS) adapters_of_a_##R(                                                   \
      float *parts, const bf16 *x, int n, int width, int rank, int count, EACH(0), EACH(1), EACH(2), int chunk) {                       \
    __shared__ float shared[WARPS * 16 * 32];                                                                                            \
    ALL;                                                                                                                                 \
    if (count == 1) of_a<R, 1>(parts, x, n, width, rank, adapters, chunk, shared);                                                       \
    else if (count == 2) of_a<R, 2>(parts, x, n, width, rank, adapters, chunk, shared);                                                  \
    else of_a<R, 3>(parts, x, n, width, rank, adapters, chunk, shared);                                                                  \
  }
RANKS(8, 4, 4)
RANKS(16, 2, 4)
