// Causal attention on Hopper's tensor cores (sm_90a, wgmma), bf16 with sums in f32, for heads of 64 or 128: the same results as
// attention_mma.cu, with tiles of 128. A block has two warpgroups that compute, 64 rows of the tile each, and one whose warps copy; the
// exponentials are taken while products are under way, as in FlashAttention-3 (Shah et al. 2024, arXiv:2407.08608). Every sum is made in a
// fixed order. The scale must be positive.
#include "common.cuh"

#define TILE 128     // queries or keys of a block
#define THREADS 384  // two warpgroups that compute, then one that copies
#define LOG2E 1.4426950408889634f
// Registers of a thread that computes and of one that copies: together what a block has at its start, 168 a thread.
#define COMPUTE_REGISTERS 232
#define COPY_REGISTERS 40

// A block's tile: the run's first token, the tile's first token in the run, the run's tokens.
struct Tile {
  int base, first, length;
};

struct Sight {
  float scale, cap;
  int window;
  // A score in units of log 2 is its raw product, or what `bend` made of it, times this.
  __device__ __forceinline__ float factor() const { return (cap > 0.f ? cap : scale) * LOG2E; }
};

// Barriers of shared memory.

__device__ __forceinline__ uint32_t shared_at(const void *p) { return (uint32_t)__cvta_generic_to_shared(p); }
__device__ __forceinline__ void barrier_new(uint32_t at, int arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(at), "r"(arrivals) : "memory");
}
__device__ __forceinline__ void barrier_arrive(uint32_t at) {
  asm volatile("{\n.reg .b64 state;\nmbarrier.arrive.shared::cta.b64 state, [%0];\n}\n" ::"r"(at) : "memory");
}
__device__ __forceinline__ bool barrier_passed(uint32_t at, uint32_t parity) {
  uint32_t passed;
  asm volatile(
      "{\n.reg .pred p;\nmbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\nselp.b32 %0, 1, 0, p;\n}\n"
      : "=r"(passed)
      : "r"(at), "r"(parity)
      : "memory");
  return passed != 0;
}
__device__ __forceinline__ void barrier_wait(uint32_t at, uint32_t parity) {
  while (!barrier_passed(at, parity)) {
  }
}
// Waits again for what has been waited for and not been released: a loop that the compiler moves no arithmetic across. Without it the
// exponentials go behind the wait for products that are meant to run beside them.
__device__ __forceinline__ void keep_order(uint32_t at, uint32_t parity) { barrier_wait(at, parity); }
// All threads of a warpgroup that computes.
__device__ __forceinline__ void group_sync(int group) {
  if (group == 0)
    asm volatile("bar.sync 1, 128;" ::: "memory");
  else
    asm volatile("bar.sync 2, 128;" ::: "memory");
}

__device__ __forceinline__ void registers_more() { asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(COMPUTE_REGISTERS)); }
__device__ __forceinline__ void registers_less() { asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(COPY_REGISTERS)); }

// Tiles in shared memory: panels of 64 columns, rows of 128 bytes, whose 16-byte chunks change places by row (128-byte swizzle).

// Starts the copy of ROWS rows of one head from a (tokens, heads, D) to a tile whose panels are PANEL rows; rows from `rows` on are zeros.
template <int D, int ROWS, int PANEL, int COPIERS>
__device__ __forceinline__ void copy_rows(uint32_t to, const bf16 *from, size_t stride, int rows, int copier) {
  constexpr int CHUNKS = D / 8, STEP = COPIERS / CHUNKS;
  const int chunk = copier % CHUNKS, first = copier / CHUNKS;
  const bf16 *source = from + first * stride + chunk * 8;
  const uint32_t column = to + (chunk / 8) * (PANEL * 128);
#pragma unroll 4
  for (int i = 0; i < ROWS / STEP; ++i) {
    const int row = first + i * STEP;
    const bool there = row < rows;
    const uint32_t at = column + row * 128 + (((chunk & 7) ^ (row & 7)) << 4);
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(at), "l"(there ? source : from), "r"(there ? 16 : 0) : "memory");
    source += STEP * stride;
  }
}
// Waits for this thread's copies and shows them, and what else it wrote, to the tensor cores.
__device__ __forceinline__ void copied() {
  asm volatile("cp.async.wait_all;" ::: "memory");
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

// A tile as an operand, from `further` bytes after `at` on. `leading`: bytes from one panel to the next; eight rows are 1,024 bytes.
__device__ __forceinline__ uint64_t descriptor(uint32_t at, uint32_t leading, uint32_t further) {
  const uint32_t low = ((at & 0x3ffff) >> 4 | (leading >> 4) << 16) + (further >> 4), high = 1024 >> 4 | 1u << 30;
  return (uint64_t)high << 32 | low;
}
// One whose depth is along the rows: there is no next panel within 16 of depth.
__device__ __forceinline__ uint64_t straight(uint32_t at, uint32_t further) { return descriptor(at, 16, further); }
// One whose depth is down the rows, with panels of so many bytes.
__device__ __forceinline__ uint64_t turned(uint32_t at, uint32_t panel, uint32_t further) { return descriptor(at, panel, further); }

// Products of a warpgroup: 64 rows. Value i of a thread is in row warp * 16 + lane / 4 + (i >> 1 & 1) * 8 and column
// i / 4 * 8 + lane % 4 * 2 + (i & 1); the same holds for the pairs of a first factor held in registers.

__device__ __forceinline__ void products_begin() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ __forceinline__ void products_end() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
// Waits until at most N groups of products are under way.
template <int N>
__device__ __forceinline__ void products_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(N) : "memory");
}
// Keeps the compiler from reading values before a wait that comes before this, or making them after a wait that comes after.
template <int N>
__device__ __forceinline__ void settled(float (&c)[N]) {
#pragma unroll
  for (int i = 0; i < N; ++i) asm volatile("" : "+f"(c[i])::"memory");
}

__device__ __forceinline__ void multiply_shared(float (&c)[32], uint64_t a, uint64_t b, int add) {
  asm volatile(
      "{\n.reg .pred p;\nsetp.ne.b32 p, %34, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 "
      "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31}, "
      "%32, %33, p, 1, 1, 0, 0;\n}\n"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]), "+f"(c[4]), "+f"(c[5]), "+f"(c[6]), "+f"(c[7]),
        "+f"(c[8]), "+f"(c[9]), "+f"(c[10]), "+f"(c[11]), "+f"(c[12]), "+f"(c[13]), "+f"(c[14]), "+f"(c[15]),
        "+f"(c[16]), "+f"(c[17]), "+f"(c[18]), "+f"(c[19]), "+f"(c[20]), "+f"(c[21]), "+f"(c[22]), "+f"(c[23]),
        "+f"(c[24]), "+f"(c[25]), "+f"(c[26]), "+f"(c[27]), "+f"(c[28]), "+f"(c[29]), "+f"(c[30]), "+f"(c[31])
      : "l"(a), "l"(b), "r"(add));
}
__device__ __forceinline__ void multiply_held(float (&c)[32], const uint32_t *a, uint64_t b) {
  asm volatile(
      "{\n.reg .pred p;\nsetp.ne.b32 p, %37, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 "
      "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31}, "
      "{%32, %33, %34, %35}, %36, p, 1, 1, 1;\n}\n"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]), "+f"(c[4]), "+f"(c[5]), "+f"(c[6]), "+f"(c[7]),
        "+f"(c[8]), "+f"(c[9]), "+f"(c[10]), "+f"(c[11]), "+f"(c[12]), "+f"(c[13]), "+f"(c[14]), "+f"(c[15]),
        "+f"(c[16]), "+f"(c[17]), "+f"(c[18]), "+f"(c[19]), "+f"(c[20]), "+f"(c[21]), "+f"(c[22]), "+f"(c[23]),
        "+f"(c[24]), "+f"(c[25]), "+f"(c[26]), "+f"(c[27]), "+f"(c[28]), "+f"(c[29]), "+f"(c[30]), "+f"(c[31])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(1));
}

__device__ __forceinline__ void multiply_shared(float (&c)[64], uint64_t a, uint64_t b, int add) {
  asm volatile(
      "{\n.reg .pred p;\nsetp.ne.b32 p, %66, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 "
      "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
      "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
      "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63}, "
      "%64, %65, p, 1, 1, 0, 0;\n}\n"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]), "+f"(c[4]), "+f"(c[5]), "+f"(c[6]), "+f"(c[7]),
        "+f"(c[8]), "+f"(c[9]), "+f"(c[10]), "+f"(c[11]), "+f"(c[12]), "+f"(c[13]), "+f"(c[14]), "+f"(c[15]),
        "+f"(c[16]), "+f"(c[17]), "+f"(c[18]), "+f"(c[19]), "+f"(c[20]), "+f"(c[21]), "+f"(c[22]), "+f"(c[23]),
        "+f"(c[24]), "+f"(c[25]), "+f"(c[26]), "+f"(c[27]), "+f"(c[28]), "+f"(c[29]), "+f"(c[30]), "+f"(c[31]),
        "+f"(c[32]), "+f"(c[33]), "+f"(c[34]), "+f"(c[35]), "+f"(c[36]), "+f"(c[37]), "+f"(c[38]), "+f"(c[39]),
        "+f"(c[40]), "+f"(c[41]), "+f"(c[42]), "+f"(c[43]), "+f"(c[44]), "+f"(c[45]), "+f"(c[46]), "+f"(c[47]),
        "+f"(c[48]), "+f"(c[49]), "+f"(c[50]), "+f"(c[51]), "+f"(c[52]), "+f"(c[53]), "+f"(c[54]), "+f"(c[55]),
        "+f"(c[56]), "+f"(c[57]), "+f"(c[58]), "+f"(c[59]), "+f"(c[60]), "+f"(c[61]), "+f"(c[62]), "+f"(c[63])
      : "l"(a), "l"(b), "r"(add));
}
__device__ __forceinline__ void multiply_held(float (&c)[64], const uint32_t *a, uint64_t b) {
  asm volatile(
      "{\n.reg .pred p;\nsetp.ne.b32 p, %69, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 "
      "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
      "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
      "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63}, "
      "{%64, %65, %66, %67}, %68, p, 1, 1, 1;\n}\n"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]), "+f"(c[4]), "+f"(c[5]), "+f"(c[6]), "+f"(c[7]),
        "+f"(c[8]), "+f"(c[9]), "+f"(c[10]), "+f"(c[11]), "+f"(c[12]), "+f"(c[13]), "+f"(c[14]), "+f"(c[15]),
        "+f"(c[16]), "+f"(c[17]), "+f"(c[18]), "+f"(c[19]), "+f"(c[20]), "+f"(c[21]), "+f"(c[22]), "+f"(c[23]),
        "+f"(c[24]), "+f"(c[25]), "+f"(c[26]), "+f"(c[27]), "+f"(c[28]), "+f"(c[29]), "+f"(c[30]), "+f"(c[31]),
        "+f"(c[32]), "+f"(c[33]), "+f"(c[34]), "+f"(c[35]), "+f"(c[36]), "+f"(c[37]), "+f"(c[38]), "+f"(c[39]),
        "+f"(c[40]), "+f"(c[41]), "+f"(c[42]), "+f"(c[43]), "+f"(c[44]), "+f"(c[45]), "+f"(c[46]), "+f"(c[47]),
        "+f"(c[48]), "+f"(c[49]), "+f"(c[50]), "+f"(c[51]), "+f"(c[52]), "+f"(c[53]), "+f"(c[54]), "+f"(c[55]),
        "+f"(c[56]), "+f"(c[57]), "+f"(c[58]), "+f"(c[59]), "+f"(c[60]), "+f"(c[61]), "+f"(c[62]), "+f"(c[63])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(1));
}

// c = a b^T, both tiles of D columns: 64 rows of a with panels of A_ROWS, 2 N rows of b.
template <int D, int A_ROWS, int N>
__device__ __forceinline__ void multiply_rows(float (&c)[N], uint32_t a, uint32_t b) {
#pragma unroll
  for (int d = 0; d < D / 16; ++d)
    multiply_shared(c, straight(a, d / 4 * (A_ROWS * 128) + d % 4 * 32), straight(b, d / 4 * (2 * N * 128) + d % 4 * 32), d > 0);
}
// c += a b, where a is (64, DEPTH) in registers and b a tile of DEPTH rows.
template <int DEPTH, int N>
__device__ __forceinline__ void multiply_down(float (&c)[N], const uint32_t (&a)[DEPTH / 4], uint32_t b) {
#pragma unroll
  for (int k = 0; k < DEPTH / 16; ++k) multiply_held(c, a + 4 * k, turned(b, DEPTH * 128, k * 2048));
}

__device__ __forceinline__ uint32_t pair(float low, float high) {
  __nv_bfloat162 both = __floats2bfloat162_rn(low, high);
  return *(uint32_t *)&both;
}
template <int N>
__device__ __forceinline__ void pack(uint32_t (&to)[N / 2], const float (&from)[N]) {
#pragma unroll
  for (int i = 0; i < N / 2; ++i) to[i] = pair(from[2 * i], from[2 * i + 1]);
}

__device__ __forceinline__ float power_2(float v) {
  float out;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(out) : "f"(v));
  return out;
}
__device__ __forceinline__ float logarithm_2(float v) {
  float out;
  asm("lg2.approx.ftz.f32 %0, %1;" : "=f"(out) : "f"(v));
  return out;
}
__device__ __forceinline__ float reciprocal(float v) {
  float out;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(out) : "f"(v));
  return out;
}
// tanh of the raw products, scaled, over the cap.
template <int N>
__device__ __forceinline__ void bend(float (&s)[N], const Sight &sight) {
  const float twice = 2.f * LOG2E * sight.scale / sight.cap;
#pragma unroll
  for (int i = 0; i < N; ++i) s[i] = 1.f - 2.f * reciprocal(1.f + power_2(s[i] * twice));
}
// The slope of that tanh where it gave this weight; `log_sum` in units of log 2.
__device__ __forceinline__ float bent_slope(float weight, float log_sum, float inverse) {
  const float t = fmaxf(-1.f, fminf(1.f, (logarithm_2(weight) + log_sum) * inverse));
  return 1.f - t * t;
}

// Writes 64 x D sums as bf16 over a tile that this warpgroup is done with, then from there to `rows` rows in global memory.
template <int D, int N>
__device__ __forceinline__ void store_rows(bf16 *to, size_t stride, int rows, const float (&c)[N], const float (&by)[2], uint32_t tile,
                                           int group) {
  static_assert(N == D / 2, "64 rows of D");
  const int thread = threadIdx.x & 127, warp = thread >> 5, g = (thread & 31) >> 2, t = thread & 3;
  group_sync(group);  // no warp's products read the tile any more
#pragma unroll
  for (int i = 0; i < D / 8; ++i) {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const uint32_t at = tile + i / 8 * (TILE * 128) + (warp * 16 + g + 8 * r) * 128 + (((i & 7) ^ g) << 4) + 4 * t;
      asm volatile("st.shared.b32 [%0], %1;" ::"r"(at), "r"(pair(c[4 * i + 2 * r] * by[r], c[4 * i + 2 * r + 1] * by[r])) : "memory");
    }
  }
  group_sync(group);
  constexpr int CHUNKS = D / 8, STEP = 128 / CHUNKS;
  const int chunk = thread % CHUNKS;
#pragma unroll
  for (int row = thread / CHUNKS; row < 64; row += STEP) {
    const uint32_t at = tile + chunk / 8 * (TILE * 128) + row * 128 + (((chunk & 7) ^ (row & 7)) << 4);
    uint4 v;
    asm volatile("ld.shared.v4.b32 {%0,%1,%2,%3}, [%4];" : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "r"(at) : "memory");
    if (row < rows) *(uint4 *)(to + row * stride + chunk * 8) = v;
  }
}

// A ring of STAGES places in shared memory: the number of a place, and which time round.
template <int STAGES>
struct Turn {
  int stage = 0;
  uint32_t parity = 0;
  __device__ __forceinline__ void next() {
    if (++stage == STAGES) stage = 0, parity ^= 1;
  }
};

// What is at which address of shared memory: FIXED tiles that stay, then a ring of STAGES places for ROWS rows of each of two operands, then
// EXTRA bytes for each place, then the barriers. `full` of a place is reached by the 32 lanes that copy into it, `empty` by the eight warps
// that compute with it. The host asks for BYTES and 1,024 more, since the tiles begin at a multiple of that.
template <int D, int ROWS, int STAGES, int FIXED, int EXTRA>
struct Room {
  static constexpr int TILE_BYTES = TILE * D * 2, PART = ROWS * D * 2;
  static constexpr int FIRST = FIXED * TILE_BYTES, SECOND = FIRST + STAGES * PART, SPARE = SECOND + STAGES * PART;
  static constexpr int BARRIERS = SPARE + STAGES * EXTRA, BYTES = BARRIERS + 4 * STAGES * 8;
  uint32_t at;
  __device__ __forceinline__ Room(const void *shared) { at = (shared_at(shared) + 1023) & ~1023u; }
  __device__ __forceinline__ uint32_t part(int operand, int stage) const { return at + (operand ? SECOND : FIRST) + stage * PART; }
  __device__ __forceinline__ uint32_t full(int operand, int stage) const { return at + BARRIERS + (operand * STAGES + stage) * 8; }
  __device__ __forceinline__ uint32_t empty(int operand, int stage) const { return at + BARRIERS + ((2 + operand) * STAGES + stage) * 8; }
  __device__ __forceinline__ void begin() const {
    if (threadIdx.x == 0) {
      for (int i = 0; i < 2 * STAGES; ++i) {
        barrier_new(full(0, i), 32);
        barrier_new(empty(0, i), 8);
      }
    }
    __syncthreads();
  }
  __device__ __forceinline__ void release(int operand, int stage) const {
    if ((threadIdx.x & 31) == 0) barrier_arrive(empty(operand, stage));
  }
};

// Keys that a tile of queries sees, in blocks of KEYS: from the one with the last key down.
template <int KEYS>
struct Blocks {
  int last, count;
  __device__ __forceinline__ Blocks(const Tile &tile, int window) {
    last = (min(tile.length, tile.first + TILE) - 1) / KEYS;
    count = last + 1 - (window > 0 ? max(0, tile.first + 1 - window) / KEYS : 0);
  }
  __device__ __forceinline__ int key(int i) const { return (last - i) * KEYS; }
};

// The copying warps of a kernel for queries: keys by warps 0 and 1, values by 2 and 3, in turns.
template <int D, int KEYS, int STAGES, class Place>
__device__ __forceinline__ void copy_keys(const Place &room, const bf16 *k, const bf16 *v, const Tile &tile, const Blocks<KEYS> &blocks,
                                          size_t stride, int kv) {
  const int lane = threadIdx.x & 31, warp = (threadIdx.x >> 5) & 3, operand = warp >> 1;
  const bf16 *from = (operand ? v : k) + (size_t)tile.base * stride + kv * D;
  Turn<STAGES> turn;
  for (int i = 0; i < blocks.count; ++i, turn.next()) {
    if ((i & 1) != (warp & 1)) continue;
    const int key = blocks.key(i);
    barrier_wait(room.empty(operand, turn.stage), turn.parity ^ 1);
    copy_rows<D, KEYS, KEYS, 32>(room.part(operand, turn.stage), from + key * stride, stride, tile.length - key, lane);
    copied();
    barrier_arrive(room.full(operand, turn.stage));
  }
}

// Which of a thread's columns its two rows see, from the first column that the thread has on.
struct Seen {
  int before[2], from[2];
  __device__ __forceinline__ bool operator()(int i) const {
    const int column = i / 4 * 8 + (i & 1), r = i >> 1 & 1;
    return column < before[r] && column >= from[r];
  }
};
// Rows are queries.
__device__ __forceinline__ Seen seen_keys(int query, int key, int window) {
  Seen seen;
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    seen.before[r] = query + 8 * r + 1 - key;
    seen.from[r] = window > 0 ? seen.before[r] - window : -(1 << 30);
  }
  return seen;
}
// Rows are keys.
__device__ __forceinline__ Seen seen_queries(int key, int query, int window) {
  Seen seen;
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    seen.from[r] = key + 8 * r - query;
    seen.before[r] = window > 0 ? seen.from[r] + window : 1 << 30;
  }
  return seen;
}

// Makes scores weights that are yet to be divided by their sum; `top` is the highest of a row so far, in raw units.
template <int N>
__device__ __forceinline__ void soften(float (&s)[N], float (&top)[2], float (&sum)[2], float (&correction)[2], const Sight &sight,
                                       bool whole, int query, int key) {
  if (sight.cap > 0.f) bend(s, sight);
  if (!whole) {
    const Seen seen = seen_keys(query, key, sight.window);
#pragma unroll
    for (int i = 0; i < N; ++i)
      if (!seen(i)) s[i] = -INFINITY;
  }
  const float factor = sight.factor();
  float shift[2];
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    float highest[2] = {fmaxf(s[2 * r], s[4 + 2 * r]), fmaxf(s[2 * r + 1], s[4 + 2 * r + 1])};
#pragma unroll
    for (int n = 2; n < N / 4; ++n) {
      highest[0] = fmaxf(highest[0], s[4 * n + 2 * r]);
      highest[1] = fmaxf(highest[1], s[4 * n + 2 * r + 1]);
    }
    float now = fmaxf(top[r], fmaxf(highest[0], highest[1]));
    now = fmaxf(now, __shfl_xor_sync(0xffffffffu, now, 1));
    now = fmaxf(now, __shfl_xor_sync(0xffffffffu, now, 2));
    // A window may leave nothing to see.
    shift[r] = now == -INFINITY ? 0.f : now * factor;
    correction[r] = power_2(top[r] * factor - shift[r]);
    top[r] = now;
  }
#pragma unroll
  for (int i = 0; i < N; ++i) s[i] = power_2(fmaf(s[i], factor, -shift[i >> 1 & 1]));
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    float sums[2] = {s[2 * r] + s[4 + 2 * r], s[2 * r + 1] + s[4 + 2 * r + 1]};
#pragma unroll
    for (int n = 2; n < N / 4; ++n) {
      sums[0] += s[4 * n + 2 * r];
      sums[1] += s[4 * n + 2 * r + 1];
    }
    sum[r] = sum[r] * correction[r] + (sums[0] + sums[1]);
  }
}

// The result of a tile of queries, and the log of each one's sum.
template <int D, int KEYS, int STAGES>
__device__ __forceinline__ void attention(bf16 *out, float *log_sums, const bf16 *q, const bf16 *k, const bf16 *v, const Tile *tiles,
                                          int heads, int kv_heads, const Sight &sight) {
  typedef Room<D, KEYS, STAGES, 1, 0> Place;
  extern __shared__ unsigned char shared[];
  const Place room(shared);
  const Tile tile = tiles[blockIdx.y];
  const int head = blockIdx.x, kv = head / (heads / kv_heads), group = threadIdx.x >> 7;
  const size_t q_stride = (size_t)heads * D, k_stride = (size_t)kv_heads * D;
  const Blocks<KEYS> blocks(tile, sight.window);
  room.begin();
  if (group == 2) {
    registers_less();
    copy_keys<D, KEYS, STAGES>(room, k, v, tile, blocks, k_stride, kv);
  } else {
    registers_more();
    const int thread = threadIdx.x & 127, t = thread & 3;
    const int mine = tile.first + group * 64;                            // this warpgroup's first query
    const int query = mine + (thread >> 5) * 16 + ((thread & 31) >> 2);  // and query + 8
    const uint32_t my_q = room.at + group * 8192;
    const size_t q_at = (size_t)(tile.base + mine) * q_stride + head * D;
    // Rows that are not there have no address.
    copy_rows<D, 64, TILE, 128>(my_q, mine < tile.length ? q + q_at : q, q_stride, tile.length - mine, thread);
    copied();
    group_sync(group);

    float acc[D / 2], s[KEYS / 2];
    uint32_t p[KEYS / 4];
#pragma unroll
    for (int i = 0; i < D / 2; ++i) acc[i] = 0.f;
    float top[2] = {-INFINITY, -INFINITY}, sum[2] = {0.f, 0.f}, correction[2];
    const int window = sight.window;
    auto whole = [&](int key) { return key + KEYS - 1 <= mine && (window == 0 || key > mine + 63 - window); };

    Turn<STAGES> turn, before;
    int i = 0;
    // Keys after all of this warpgroup's queries.
    for (; blocks.key(i) > mine + 63; ++i, turn.next()) {
#pragma unroll
      for (int operand = 0; operand < 2; ++operand) {
        barrier_wait(room.full(operand, turn.stage), turn.parity);
        room.release(operand, turn.stage);
      }
    }
    barrier_wait(room.full(0, turn.stage), turn.parity);
    products_begin();
    multiply_rows<D, TILE>(s, my_q, room.part(0, turn.stage));
    products_end();
    products_wait<0>();
    settled(s);
    room.release(0, turn.stage);
    soften(s, top, sum, correction, sight, whole(blocks.key(i)), query, blocks.key(i) + 2 * t);
    pack(p, s);
    before = turn;
    turn.next();
    // The scores of the next keys are under way while the last weights take up their values.
    for (++i; i < blocks.count; ++i) {
      const int key = blocks.key(i);
      barrier_wait(room.full(1, before.stage), before.parity);
      barrier_wait(room.full(0, turn.stage), turn.parity);
      products_begin();
      multiply_rows<D, TILE>(s, my_q, room.part(0, turn.stage));
      products_end();
      multiply_down<KEYS>(acc, p, room.part(1, before.stage));
      products_end();
      products_wait<1>();
      settled(s);
      room.release(0, turn.stage);
      soften(s, top, sum, correction, sight, whole(key), query, key + 2 * t);
      settled(s);
      keep_order(room.full(1, before.stage), before.parity);
      products_wait<0>();
      settled(acc);
      room.release(1, before.stage);
#pragma unroll
      for (int j = 0; j < D / 2; ++j) acc[j] *= correction[j >> 1 & 1];
      pack(p, s);
      before = turn;
      turn.next();
    }
    barrier_wait(room.full(1, before.stage), before.parity);
    products_begin();
    multiply_down<KEYS>(acc, p, room.part(1, before.stage));
    products_end();
    products_wait<0>();
    settled(acc);

    float inverse[2];
    const float factor = sight.factor() / LOG2E;
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      sum[r] += __shfl_xor_sync(0xffffffffu, sum[r], 1);
      sum[r] += __shfl_xor_sync(0xffffffffu, sum[r], 2);
      inverse[r] = 1.f / sum[r];
      const int at = query + 8 * r;
      if (t == 0 && at < tile.length) log_sums[(size_t)(tile.base + at) * heads + head] = top[r] * factor + logf(sum[r]);
    }
    store_rows<D>(out + q_at, q_stride, tile.length - mine, acc, inverse, my_q, group);
  }
}

// dq of a tile of queries.
template <int D, int KEYS, int STAGES>
__device__ __forceinline__ void attention_dq(bf16 *dq, const bf16 *q, const bf16 *k, const bf16 *v, const bf16 *dout, const float *log_sums,
                                             const float *deltas, const Tile *tiles, int heads, int kv_heads, const Sight &sight) {
  typedef Room<D, KEYS, STAGES, 2, 0> Place;
  extern __shared__ unsigned char shared[];
  const Place room(shared);
  const Tile tile = tiles[blockIdx.y];
  const int head = blockIdx.x, kv = head / (heads / kv_heads), group = threadIdx.x >> 7;
  const size_t q_stride = (size_t)heads * D, k_stride = (size_t)kv_heads * D;
  const Blocks<KEYS> blocks(tile, sight.window);
  room.begin();
  if (group == 2) {
    registers_less();
    copy_keys<D, KEYS, STAGES>(room, k, v, tile, blocks, k_stride, kv);
  } else {
    registers_more();
    const int thread = threadIdx.x & 127, t = thread & 3;
    const int mine = tile.first + group * 64;
    const int query = mine + (thread >> 5) * 16 + ((thread & 31) >> 2);
    const uint32_t my_q = room.at + group * 8192, my_d = my_q + Place::TILE_BYTES;
    const size_t q_at = (size_t)(tile.base + mine) * q_stride + head * D;
    const bool any = mine < tile.length;
    copy_rows<D, 64, TILE, 128>(my_q, any ? q + q_at : q, q_stride, tile.length - mine, thread);
    copy_rows<D, 64, TILE, 128>(my_d, any ? dout + q_at : dout, q_stride, tile.length - mine, thread);
    float log_sum[2], delta[2];
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const bool there = query + 8 * r < tile.length;
      const size_t row = (size_t)(tile.base + query + 8 * r) * heads + head;
      log_sum[r] = there ? log_sums[row] * LOG2E : INFINITY;  // no weight for rows that are not there
      delta[r] = there ? deltas[row] : 0.f;
    }
    copied();
    group_sync(group);

    float acc[D / 2], s[KEYS / 2], dp[KEYS / 2];
    uint32_t ds[KEYS / 4];
#pragma unroll
    for (int i = 0; i < D / 2; ++i) acc[i] = 0.f;
    const int window = sight.window;
    const float factor = sight.factor();
    Turn<STAGES> turn;
    for (int i = 0; i < blocks.count; ++i, turn.next()) {
      const int key = blocks.key(i);
      barrier_wait(room.full(0, turn.stage), turn.parity);
      barrier_wait(room.full(1, turn.stage), turn.parity);
      if (key > mine + 63) {
        room.release(0, turn.stage);
        room.release(1, turn.stage);
        continue;
      }
      products_begin();
      multiply_rows<D, TILE>(s, my_q, room.part(0, turn.stage));
      products_end();
      multiply_rows<D, TILE>(dp, my_d, room.part(1, turn.stage));
      products_end();
      products_wait<1>();
      settled(s);
      if (sight.cap > 0.f) bend(s, sight);
      if (!(key + KEYS - 1 <= mine && (window == 0 || key > mine + 63 - window))) {
        const Seen seen = seen_keys(query, key + 2 * t, window);
#pragma unroll
        for (int j = 0; j < KEYS / 2; ++j)
          if (!seen(j)) s[j] = -INFINITY;
      }
#pragma unroll
      for (int j = 0; j < KEYS / 2; ++j) s[j] = power_2(fmaf(s[j], factor, -log_sum[j >> 1 & 1]));
      settled(s);
      keep_order(room.full(1, turn.stage), turn.parity);
      products_wait<0>();
      settled(dp);
      room.release(1, turn.stage);
#pragma unroll
      for (int j = 0; j < KEYS / 2; ++j) dp[j] = s[j] * (dp[j] - delta[j >> 1 & 1]);
      if (sight.cap > 0.f) {
        const float inverse = 1.f / factor;
#pragma unroll
        for (int j = 0; j < KEYS / 2; ++j) dp[j] *= bent_slope(s[j], log_sum[j >> 1 & 1], inverse);
      }
      pack(ds, dp);
      products_begin();
      multiply_down<KEYS>(acc, ds, room.part(0, turn.stage));
      products_end();
      products_wait<0>();
      settled(acc);
      room.release(0, turn.stage);
    }
    const float by[2] = {sight.scale, sight.scale};
    store_rows<D>(dq + q_at, q_stride, tile.length - mine, acc, by, my_q, group);
  }
}

// dk and dv of a tile of keys, from the query heads of their group or a part of them. One part: (tokens, kv_heads, D) in bf16; several:
// (tokens, kv_heads * parts, D) in f32, which `attention_join` adds.
template <int D, int QUERIES, int STAGES>
__device__ __forceinline__ void attention_dkv(void *dk, void *dv, const bf16 *q, const bf16 *k, const bf16 *v, const bf16 *dout,
                                              const float *log_sums, const float *deltas, const Tile *tiles, int heads, int kv_heads,
                                              const Sight &sight, int parts) {
  typedef Room<D, QUERIES, STAGES, 2, QUERIES * 8> Place;
  extern __shared__ unsigned char shared[];
  const Place room(shared);
  // The list begins with what is most work for queries: for keys it is the other way round.
  const Tile tile = tiles[gridDim.y - 1 - blockIdx.y];
  const int out_head = blockIdx.x, kv = out_head / parts, out_heads = kv_heads * parts, group = threadIdx.x >> 7;
  const int head_count = heads / out_heads, head_first = out_head * head_count;
  const size_t q_stride = (size_t)heads * D, k_stride = (size_t)kv_heads * D;
  const int window = sight.window;
  const int end = window > 0 ? min(tile.length, tile.first + TILE - 1 + window) : tile.length;
  room.begin();
  if (group == 2) {
    registers_less();
    // Queries and their sums by warps 0 and 1, gradients and their deltas by 2 and 3, in turns.
    const int lane = threadIdx.x & 31, warp = (threadIdx.x >> 5) & 3, operand = warp >> 1;
    const bf16 *from = (operand ? dout : q) + (size_t)tile.base * q_stride;
    const float *numbers = (operand ? deltas : log_sums) + (size_t)tile.base * heads;
    Turn<STAGES> turn;
    int mine = warp & 1;
    for (int head = head_first; head < head_first + head_count; ++head) {
      for (int query = tile.first; query < end; query += QUERIES, turn.next(), mine ^= 1) {
        if (mine) continue;
        barrier_wait(room.empty(operand, turn.stage), turn.parity ^ 1);
        copy_rows<D, QUERIES, QUERIES, 32>(room.part(operand, turn.stage), from + query * q_stride + head * D, q_stride,
                                           tile.length - query, lane);
        const uint32_t to = room.at + Place::SPARE + ((turn.stage * 2 + operand) * QUERIES + lane) * 4;
#pragma unroll
        for (int j = 0; j < QUERIES / 32; ++j) {
          const int row = query + lane + 32 * j;
          float number = operand ? 0.f : INFINITY;  // no weight for rows that are not there
          if (row < tile.length) number = numbers[(size_t)row * heads + head] * (operand ? 1.f : LOG2E);
          asm volatile("st.shared.f32 [%0], %1;" ::"r"(to + 128 * j), "f"(number) : "memory");
        }
        copied();
        barrier_arrive(room.full(operand, turn.stage));
      }
    }
  } else {
    registers_more();
    const int thread = threadIdx.x & 127, t = thread & 3;
    const int mine = tile.first + group * 64;
    const int key = mine + (thread >> 5) * 16 + ((thread & 31) >> 2);
    const uint32_t my_k = room.at + group * 8192, my_v = my_k + Place::TILE_BYTES;
    const size_t k_at = (size_t)(tile.base + mine) * k_stride + kv * D;
    const bool any = mine < tile.length;
    copy_rows<D, 64, TILE, 128>(my_k, any ? k + k_at : k, k_stride, tile.length - mine, thread);
    copy_rows<D, 64, TILE, 128>(my_v, any ? v + k_at : v, k_stride, tile.length - mine, thread);
    copied();
    group_sync(group);

    float acc_k[D / 2], acc_v[D / 2], s[QUERIES / 2], dp[QUERIES / 2];
    uint32_t p[QUERIES / 4], ds[QUERIES / 4];
#pragma unroll
    for (int i = 0; i < D / 2; ++i) acc_k[i] = acc_v[i] = 0.f;
    const float factor = sight.factor();
    Turn<STAGES> turn;
    for (int head = 0; head < head_count; ++head) {
      for (int query = tile.first; query < end; query += QUERIES, turn.next()) {
        barrier_wait(room.full(0, turn.stage), turn.parity);
        barrier_wait(room.full(1, turn.stage), turn.parity);
        if (query + QUERIES - 1 < mine || (window > 0 && query >= mine + 63 + window)) {
          room.release(0, turn.stage);
          room.release(1, turn.stage);
          continue;
        }
        const uint32_t part_q = room.part(0, turn.stage), part_d = room.part(1, turn.stage);
        const float2 *log_sum = (const float2 *)__cvta_shared_to_generic(room.at + Place::SPARE + turn.stage * QUERIES * 8) + t;
        const float2 *delta = log_sum + QUERIES / 2;
        products_begin();
        multiply_rows<D, TILE>(s, my_k, part_q);
        products_end();
        multiply_rows<D, TILE>(dp, my_v, part_d);
        products_end();
        products_wait<1>();
        settled(s);
        if (sight.cap > 0.f) bend(s, sight);
        if (!(query >= mine + 63 && (window == 0 || query + QUERIES - 1 < mine + window))) {
          const Seen seen = seen_queries(key, query + 2 * t, window);
#pragma unroll
          for (int j = 0; j < QUERIES / 2; ++j)
            if (!seen(j)) s[j] = -INFINITY;
        }
#pragma unroll
        for (int n = 0; n < QUERIES / 8; ++n) {
          const float2 sums = log_sum[4 * n];
          s[4 * n] = power_2(fmaf(s[4 * n], factor, -sums.x));
          s[4 * n + 1] = power_2(fmaf(s[4 * n + 1], factor, -sums.y));
          s[4 * n + 2] = power_2(fmaf(s[4 * n + 2], factor, -sums.x));
          s[4 * n + 3] = power_2(fmaf(s[4 * n + 3], factor, -sums.y));
        }
        settled(s);
        keep_order(room.full(1, turn.stage), turn.parity);
        products_wait<0>();
        settled(dp);
#pragma unroll
        for (int n = 0; n < QUERIES / 8; ++n) {
          const float2 d = delta[4 * n];
          dp[4 * n] = s[4 * n] * (dp[4 * n] - d.x);
          dp[4 * n + 1] = s[4 * n + 1] * (dp[4 * n + 1] - d.y);
          dp[4 * n + 2] = s[4 * n + 2] * (dp[4 * n + 2] - d.x);
          dp[4 * n + 3] = s[4 * n + 3] * (dp[4 * n + 3] - d.y);
        }
        if (sight.cap > 0.f) {
          const float inverse = 1.f / factor;
#pragma unroll
          for (int n = 0; n < QUERIES / 8; ++n) {
            const float2 sums = log_sum[4 * n];
#pragma unroll
            for (int e = 0; e < 4; ++e) dp[4 * n + e] *= bent_slope(s[4 * n + e], e & 1 ? sums.y : sums.x, inverse);
          }
        }
        pack(ds, dp);
        pack(p, s);
        products_begin();
        multiply_down<QUERIES>(acc_v, p, part_d);
        multiply_down<QUERIES>(acc_k, ds, part_q);
        products_end();
        products_wait<0>();
        settled(acc_k);
        settled(acc_v);
        room.release(0, turn.stage);
        room.release(1, turn.stage);
      }
    }
    const size_t out_stride = (size_t)out_heads * D, at = (size_t)(tile.base + mine) * out_stride + out_head * D;
    if (parts == 1) {
      const float by_k[2] = {sight.scale, sight.scale}, by_v[2] = {1.f, 1.f};
      store_rows<D>((bf16 *)dk + at, out_stride, tile.length - mine, acc_k, by_k, my_k, group);
      store_rows<D>((bf16 *)dv + at, out_stride, tile.length - mine, acc_v, by_v, my_v, group);
    } else {
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        if (key + 8 * r >= tile.length) continue;
        const size_t row = at + (size_t)(key + 8 * r - mine) * out_stride + 2 * t;
#pragma unroll
        for (int i = 0; i < D / 8; ++i) {
          *(float2 *)((float *)dk + row + i * 8) = make_float2(acc_k[4 * i + 2 * r] * sight.scale, acc_k[4 * i + 2 * r + 1] * sight.scale);
          *(float2 *)((float *)dv + row + i * 8) = make_float2(acc_v[4 * i + 2 * r], acc_v[4 * i + 2 * r + 1]);
        }
      }
    }
  }
}

// `Tiled::wgmma` in attention.rs asks for the shared memory of these sizes.
#define SIZES(D, KEYS, KEY_STAGES, QUERIES, QUERY_STAGES)                                                                                 \
  extern "C" __global__ void __launch_bounds__(THREADS, 1)                                                                                \
      attention_wgmma_##D(bf16 *out, float *log_sums, const bf16 *q, const bf16 *k, const bf16 *v, const Tile *tiles, int heads,          \
                          int kv_heads, float scale, float cap, int window) {                                                             \
    attention<D, KEYS, KEY_STAGES>(out, log_sums, q, k, v, tiles, heads, kv_heads, Sight{scale, cap, window});                            \
  }                                                                                                                                       \
  extern "C" __global__ void __launch_bounds__(THREADS, 1)                                                                                \
      attention_wgmma_dq_##D(bf16 *dq, const bf16 *q, const bf16 *k, const bf16 *v, const bf16 *dout, const float *log_sums,              \
                             const float *deltas, const Tile *tiles, int heads, int kv_heads, float scale, float cap, int window) {       \
    attention_dq<D, KEYS, KEY_STAGES>(dq, q, k, v, dout, log_sums, deltas, tiles, heads, kv_heads, Sight{scale, cap, window});            \
  }                                                                                                                                       \
  extern "C" __global__ void __launch_bounds__(THREADS, 1)                                                                                \
      attention_wgmma_dkv_##D(void *dk, void *dv, const bf16 *q, const bf16 *k, const bf16 *v, const bf16 *dout,                          \
                              const float *log_sums, const float *deltas, const Tile *tiles, int heads, int kv_heads, float scale,        \
                              float cap, int window, int parts) {                                                                         \
    attention_dkv<D, QUERIES, QUERY_STAGES>(dk, dv, q, k, v, dout, log_sums, deltas, tiles, heads, kv_heads,                              \
                                            Sight{scale, cap, window}, parts);                                                            \
  }
SIZES(64, 128, 2, 128, 2)
SIZES(128, 128, 2, 64, 3)
