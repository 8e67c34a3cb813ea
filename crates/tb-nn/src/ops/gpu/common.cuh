// What every kernel file shares: numbers in f32 or bf16 that are read and written as f32, sums over a block in a fixed order, a product of a warp.
#pragma once
#include <cuda_bf16.h>
#include <stdint.h>

typedef __nv_bfloat16 bf16;

__device__ __forceinline__ float widen(float v) { return v; }
__device__ __forceinline__ float widen(bf16 v) { return __bfloat162float(v); }
__device__ __forceinline__ void narrow(float &out, float v) { out = v; }
__device__ __forceinline__ void narrow(bf16 &out, float v) { out = __float2bfloat16_rn(v); }

// A constant vector that may be f32 whatever the activations are.
__device__ __forceinline__ float constant(const void *values, int wide, size_t i) {
  return wide ? ((const float *)values)[i] : __bfloat162float(((const bf16 *)values)[i]);
}

__device__ __forceinline__ float warp_sum(float v) {
#pragma unroll
  for (int d = 16; d > 0; d >>= 1) v += __shfl_xor_sync(0xffffffffu, v, d);
  return v;
}

__device__ __forceinline__ float warp_max(float v) {
#pragma unroll
  for (int d = 16; d > 0; d >>= 1) v = fmaxf(v, __shfl_xor_sync(0xffffffffu, v, d));
  return v;
}

// The sum over the threads of a block (whole warps, at most 32); every thread gets it.
__device__ __forceinline__ float block_sum(float v) {
  __shared__ float parts[32];
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, warps = blockDim.x >> 5;
  v = warp_sum(v);
  __syncthreads();
  if (lane == 0) parts[warp] = v;
  __syncthreads();
  return warp_sum(lane < warps ? parts[lane] : 0.f);
}

__device__ __forceinline__ float block_max(float v) {
  __shared__ float parts[32];
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, warps = blockDim.x >> 5;
  v = warp_max(v);
  __syncthreads();
  if (lane == 0) parts[warp] = v;
  __syncthreads();
  return warp_max(lane < warps ? parts[lane] : -INFINITY);
}

// Eight values at once, where `at` is aligned to them (16 bytes of bf16, 32 of f32).
__device__ __forceinline__ void load_8(float (&out)[8], const float *at) {
  const float4 a = ((const float4 *)at)[0], b = ((const float4 *)at)[1];
  out[0] = a.x, out[1] = a.y, out[2] = a.z, out[3] = a.w, out[4] = b.x, out[5] = b.y, out[6] = b.z, out[7] = b.w;
}
__device__ __forceinline__ void load_8(float (&out)[8], const bf16 *at) {
  const uint4 all = *(const uint4 *)at;
  const uint32_t words[4] = {all.x, all.y, all.z, all.w};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    out[2 * i] = __uint_as_float(words[i] << 16);
    out[2 * i + 1] = __uint_as_float(words[i] & 0xffff0000u);
  }
}
__device__ __forceinline__ void store_8(float *at, const float (&v)[8]) {
  ((float4 *)at)[0] = make_float4(v[0], v[1], v[2], v[3]);
  ((float4 *)at)[1] = make_float4(v[4], v[5], v[6], v[7]);
}
__device__ __forceinline__ void store_8(bf16 *at, const float (&v)[8]) {
  uint32_t words[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const __nv_bfloat162 both = __floats2bfloat162_rn(v[2 * i], v[2 * i + 1]);
    words[i] = *(const uint32_t *)&both;
  }
  *(uint4 *)at = make_uint4(words[0], words[1], words[2], words[3]);
}

// Up to eight values from `i` of `n`; the rest is zeros. `whole`: every group of eight is there and aligned.
template <typename T>
__device__ __forceinline__ void take_8(float (&out)[8], const T *values, size_t i, size_t n, bool whole) {
  if (whole) return load_8(out, values + i);
#pragma unroll
  for (int k = 0; k < 8; ++k) out[k] = i + k < n ? widen(values[i + k]) : 0.f;
}
template <typename T>
__device__ __forceinline__ void put_8(T *values, const float (&v)[8], size_t i, size_t n, bool whole) {
  if (whole) return store_8(values + i, v);
#pragma unroll
  for (int k = 0; k < 8; ++k)
    if (i + k < n) narrow(values[i + k], v[k]);
}

// Whether so many values at each of these addresses are whole groups of eight, aligned.
__device__ __forceinline__ bool groups(size_t n, const void *a, const void *b = 0, const void *c = 0) {
  return n % 8 == 0 && (((uintptr_t)a | (uintptr_t)b | (uintptr_t)c) & 31) == 0;
}

// The first group of eight of a thread, and how far its next one is.
#define EACH_8(i, n) (size_t i = 8 * ((size_t)blockIdx.x * blockDim.x + threadIdx.x); i < n; i += 8 * (size_t)gridDim.x * blockDim.x)

// c += a b on tensor cores, 16 x 8 x 16 bf16 with sums in f32: a warp's parts as mma.sync lays them out.
__device__ __forceinline__ void multiply(float (&c)[4], uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3, uint32_t b0, uint32_t b1) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
               : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
               : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}

// A kernel template as one C function per number type.
#define BOTH(name, params, args)                                                         \
  extern "C" __global__ void name##_f32 params(float) { name<float> args; }              \
  extern "C" __global__ void name##_bf16 params(bf16) { name<bf16> args; }
