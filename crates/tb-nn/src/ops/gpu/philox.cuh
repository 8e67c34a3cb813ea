// Random words by counters: Philox4x32-10 (Salmon et al. 2011), the words that the CPU draws.
#pragma once
#include <stdint.h>

__device__ __forceinline__ uint4 philox(uint4 c, uint2 key) {
#pragma unroll
  for (int round = 0; round < 10; ++round) {
    if (round > 0) {
      key.x += 0x9E3779B9u;
      key.y += 0xBB67AE85u;
    }
    const uint32_t high0 = __umulhi(0xD2511F53u, c.x), low0 = 0xD2511F53u * c.x;
    const uint32_t high1 = __umulhi(0xCD9E8D57u, c.z), low1 = 0xCD9E8D57u * c.z;
    c = make_uint4(high1 ^ c.y ^ key.x, low1, high0 ^ c.w ^ key.y, low0);
  }
  return c;
}

// As `Stream::child` on the CPU: the stream of one row.
__device__ __forceinline__ uint64_t splitmix(uint64_t x) {
  x += 0x9E3779B97F4A7C15ull;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ull;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBull;
  return x ^ (x >> 31);
}

// The stream of part `index` of the one with this lane.
__device__ __forceinline__ uint64_t row_stream(uint64_t lane, uint32_t index) { return splitmix(lane ^ splitmix(~(uint64_t)index)); }

// Four words of a stream.
__device__ __forceinline__ uint4 philox_of(uint32_t block, uint32_t purpose, uint64_t stream, uint2 key) {
  return philox(make_uint4(block, purpose, (uint32_t)stream, (uint32_t)(stream >> 32)), key);
}
