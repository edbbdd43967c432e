// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/core/cpu.hpp"

#include <gtest/gtest.h>

namespace conclave {
namespace {

TEST(Cpu, HasANameAndRunsThisProgram) {
  EXPECT_FALSE(cpu_description().empty());
  EXPECT_EQ(missing_cpu_feature(), std::nullopt);
}

TEST(Cpu, DescriptionNamesWhatTheBestKernelsNeed) {
  const auto best = best_blas_kernel();
  if (!best) GTEST_SKIP() << "a CPU with no more than the baseline";
  const std::string description = cpu_description();
  const bool has_avx512 = description.find("avx512") != std::string::npos;
  EXPECT_EQ(*best == "Cooperlake" || *best == "SkylakeX", has_avx512) << description;
  EXPECT_NE(description.find("avx2"), std::string::npos) << description;
}

TEST(Cpu, OffersBetterKernelsOnlyWhereTheyAreBetter) {
  EXPECT_EQ(better_blas_kernel("unknown"), std::nullopt);
  EXPECT_EQ(better_blas_kernel(""), std::nullopt);
  EXPECT_EQ(better_blas_kernel("Cooperlake"), std::nullopt);
  const auto best = best_blas_kernel();
  if (!best) GTEST_SKIP() << "a CPU with no more than the baseline";
  EXPECT_EQ(better_blas_kernel(*best), std::nullopt);
  for (const auto* slow : {"Prescott", "PRESCOTT", "Core2", "Nehalem", "Barcelona", "Sandybridge"}) {
    EXPECT_EQ(better_blas_kernel(slow), best) << slow;
  }
  const bool best_is_avx512 = *best == "Cooperlake" || *best == "SkylakeX";
  for (const auto* with_avx2 : {"Haswell", "HASWELL", "Zen", "Excavator"}) {
    EXPECT_EQ(better_blas_kernel(with_avx2).has_value(), best_is_avx512) << with_avx2;
  }
  EXPECT_EQ(better_blas_kernel("SkylakeX").has_value(), *best == "Cooperlake");
}

}  // namespace
}  // namespace conclave
