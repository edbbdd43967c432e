// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/core/cpu.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <fstream>
#include <vector>

namespace conclave {
namespace {

struct CpuFeatures {
  bool is_amd = false;
  bool avx2 = false;
  bool fma = false;
  bool avx512 = false;  // f, bw, dq and vl: what BLAS kernels for AVX-512 need
  bool avx512_bf16 = false;
};

CpuFeatures cpu_features() {
  CpuFeatures features;
#if defined(__x86_64__) || defined(__i386__)
  __builtin_cpu_init();
  features.is_amd = __builtin_cpu_is("amd") != 0;
  features.avx2 = __builtin_cpu_supports("avx2") != 0;
  features.fma = __builtin_cpu_supports("fma") != 0;
  features.avx512 = __builtin_cpu_supports("avx512f") != 0 && __builtin_cpu_supports("avx512bw") != 0 &&
                    __builtin_cpu_supports("avx512dq") != 0 && __builtin_cpu_supports("avx512vl") != 0;
  features.avx512_bf16 = __builtin_cpu_supports("avx512bf16") != 0;
#endif
  return features;
}

std::string model_name() {
  std::ifstream cpuinfo("/proc/cpuinfo");
  for (std::string line; std::getline(cpuinfo, line);) {
    if (!line.starts_with("model name")) continue;
    const auto start = line.find_first_not_of(" \t", line.find(':') + 1);
    if (start != std::string::npos) return line.substr(start);
  }
  return "unknown CPU";
}

// What a kernel set computes with, in rising order of speed.
enum class KernelLevel { unknown, sse, avx, avx2, avx512, avx512_bf16 };

struct KernelSet {
  std::string_view name;  // in lower case
  KernelLevel level;
};

// The names that OpenBLAS gives its kernel sets for x86. Libraries built for one CPU write them in capitals.
constexpr auto kernel_sets = std::to_array<KernelSet>({
    {"generic", KernelLevel::sse},
    {"katmai", KernelLevel::sse},
    {"coppermine", KernelLevel::sse},
    {"northwood", KernelLevel::sse},
    {"prescott", KernelLevel::sse},
    {"banias", KernelLevel::sse},
    {"atom", KernelLevel::sse},
    {"core2", KernelLevel::sse},
    {"penryn", KernelLevel::sse},
    {"dunnington", KernelLevel::sse},
    {"nehalem", KernelLevel::sse},
    {"athlon", KernelLevel::sse},
    {"opteron", KernelLevel::sse},
    {"opteron_sse3", KernelLevel::sse},
    {"barcelona", KernelLevel::sse},
    {"nano", KernelLevel::sse},
    {"bobcat", KernelLevel::sse},
    {"sandybridge", KernelLevel::avx},
    {"bulldozer", KernelLevel::avx},
    {"piledriver", KernelLevel::avx},
    {"steamroller", KernelLevel::avx},
    {"excavator", KernelLevel::avx2},
    {"haswell", KernelLevel::avx2},
    {"zen", KernelLevel::avx2},
    {"skylakex", KernelLevel::avx512},
    {"cooperlake", KernelLevel::avx512_bf16},
    {"sapphirerapids", KernelLevel::avx512_bf16},
});

KernelLevel level_of(std::string_view name) {
  std::string lower(name);
  std::transform(lower.begin(), lower.end(), lower.begin(), [](unsigned char c) { return std::tolower(c); });
  const auto found =
      std::find_if(kernel_sets.begin(), kernel_sets.end(), [&](const KernelSet& set) { return set.name == lower; });
  return found == kernel_sets.end() ? KernelLevel::unknown : found->level;
}

}  // namespace

std::string cpu_description() {
  const CpuFeatures features = cpu_features();
  std::vector<std::string_view> words;
  if (features.avx2) words.emplace_back("avx2");
  if (features.fma) words.emplace_back("fma");
  if (features.avx512) words.emplace_back("avx512");
  if (features.avx512_bf16) words.emplace_back("avx512_bf16");
  return words.empty() ? model_name() : fmt::format("{} ({})", model_name(), fmt::join(words, " "));
}

std::optional<std::string> best_blas_kernel() {
  const CpuFeatures features = cpu_features();
  if (features.avx512) return features.avx512_bf16 ? "Cooperlake" : "SkylakeX";
  if (features.avx2 && features.fma) return features.is_amd ? "Zen" : "Haswell";
  return std::nullopt;
}

std::optional<std::string> better_blas_kernel(std::string_view loaded) {
  const KernelLevel level = level_of(loaded);
  auto best = best_blas_kernel();
  if (level == KernelLevel::unknown || !best || level_of(*best) <= level) return std::nullopt;
  return best;
}

bool has_avx512() { return cpu_features().avx512; }

// CONCLAVE_NEEDS(feature) leaves missing_cpu_feature with the feature's name if this CPU lacks it.
#define CONCLAVE_NEEDS(feature) \
  if (!__builtin_cpu_supports(feature)) return feature

std::optional<std::string> missing_cpu_feature() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_cpu_init();
#ifdef __SSE4_2__
  CONCLAVE_NEEDS("sse4.2");
#endif
#ifdef __AVX__
  CONCLAVE_NEEDS("avx");
#endif
#ifdef __AVX2__
  CONCLAVE_NEEDS("avx2");
#endif
#ifdef __FMA__
  CONCLAVE_NEEDS("fma");
#endif
#ifdef __BMI2__
  CONCLAVE_NEEDS("bmi2");
#endif
#ifdef __AVX512F__
  CONCLAVE_NEEDS("avx512f");
#endif
#ifdef __AVX512BW__
  CONCLAVE_NEEDS("avx512bw");
#endif
#ifdef __AVX512DQ__
  CONCLAVE_NEEDS("avx512dq");
#endif
#ifdef __AVX512VL__
  CONCLAVE_NEEDS("avx512vl");
#endif
#ifdef __AVX512CD__
  CONCLAVE_NEEDS("avx512cd");
#endif
#ifdef __AVX512IFMA__
  CONCLAVE_NEEDS("avx512ifma");
#endif
#ifdef __AVX512VBMI__
  CONCLAVE_NEEDS("avx512vbmi");
#endif
#ifdef __AVX512VBMI2__
  CONCLAVE_NEEDS("avx512vbmi2");
#endif
#ifdef __AVX512VNNI__
  CONCLAVE_NEEDS("avx512vnni");
#endif
#ifdef __AVX512BITALG__
  CONCLAVE_NEEDS("avx512bitalg");
#endif
#ifdef __AVX512VPOPCNTDQ__
  CONCLAVE_NEEDS("avx512vpopcntdq");
#endif
#ifdef __AVX512BF16__
  CONCLAVE_NEEDS("avx512bf16");
#endif
#endif
  return std::nullopt;
}
#undef CONCLAVE_NEEDS

}  // namespace conclave
