// SPDX-License-Identifier: BSD-3-Clause
#include "apps/machine_floor.hpp"

#include "runtime/core/error.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <fstream>

namespace conclave::apps {
namespace {

#ifdef __AVX512F__
constexpr std::size_t lane_bytes = 64;
#else
constexpr std::size_t lane_bytes = 32;
#endif
constexpr std::size_t num_lanes = lane_bytes / sizeof(float);
constexpr std::size_t num_chains = 12;  // latency 4 x 2 units, and to spare; they fit 16 registers

// A vector register; the compiler's own type, which every CPU has in some width.
using Lanes [[gnu::vector_size(lane_bytes)]] = float;

// Keeps the compiler from seeing that nobody needs a result.
void use(float value) { asm volatile("" : : "m"(value) : "memory"); }

float sum_of(const std::array<Lanes, num_chains>& chains) {
  float sum = 0.0F;
  for (const Lanes& chain : chains) {
    for (std::size_t i = 0; i < num_lanes; ++i) sum += chain[i];
  }
  return sum;
}

}  // namespace

void fma_loop(double flops) {
  std::array<Lanes, num_chains> chains{};
  for (std::size_t c = 0; c < num_chains; ++c) chains[c] += static_cast<float>(c);  // unlike, or they would be one
  const Lanes factor = Lanes{} + 0.999F;
  const Lanes term = Lanes{} + 0.001F;
  const auto rounds = static_cast<Index>(flops / (2.0 * num_lanes * num_chains));
  for (Index i = 0; i < rounds; ++i) {
    for (Lanes& chain : chains) chain = chain * factor + term;
  }
  use(sum_of(chains));
}

void read_all(std::span<const float> a) {
  std::array<Lanes, num_chains> chains{};
  const std::size_t step = num_lanes * num_chains;
  std::size_t i = 0;
  for (; i + step <= a.size(); i += step) {
    for (std::size_t c = 0; c < num_chains; ++c) {
      Lanes lanes;
      std::memcpy(&lanes, a.data() + i + c * num_lanes, lane_bytes);
      chains[c] += lanes;
    }
  }
  float sum = sum_of(chains);
  for (; i < a.size(); ++i) sum += a[i];
  use(sum);
}

void write_all(std::span<float> a, float value) {
  std::fill(a.begin(), a.end(), value);
  if (!a.empty()) use(a.back());
}

void copy_all(std::span<const float> b, std::span<float> a) {
  invariant(a.size() == b.size(), "a copy of {} elements to {}", b.size(), a.size());
  if (!a.empty()) std::memcpy(a.data(), b.data(), b.size_bytes());
}

void triad(std::span<const float> b, float s, std::span<const float> c, std::span<float> a) {
  invariant(a.size() == b.size() && a.size() == c.size(), "a triad of {}, {} and {} elements", a.size(), b.size(),
            c.size());
  float* __restrict to = a.data();
  const float* __restrict from = b.data();
  const float* __restrict scaled = c.data();
  for (std::size_t i = 0; i < a.size(); ++i) to[i] = from[i] + s * scaled[i];
}

// The CPU itself may name a cache that other machines have a part of; the kernel names this machine's part.
Index last_level_cache_bytes() {
  Index largest = 0;
  for (int level = 0; level < 8; ++level) {
    std::ifstream file(fmt::format("/sys/devices/system/cpu/cpu0/cache/index{}/size", level));
    Index kib = 0;  // written as "32768K"
    if (file >> kib) largest = std::max(largest, kib << 10);
  }
  return largest > 0 ? largest : Index{32} << 20;
}

}  // namespace conclave::apps
