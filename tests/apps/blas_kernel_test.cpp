// SPDX-License-Identifier: BSD-3-Clause
#include "apps/blas_kernel.hpp"

#include <gtest/gtest.h>

namespace conclave::apps {
namespace {

TEST(BlasKernel, keeps_a_good_choice) {
  const BlasChoice choice = choose_blas_kernel({"SkylakeX", std::nullopt, std::nullopt, std::nullopt});
  EXPECT_FALSE(must_reexecute(choice));
  EXPECT_EQ(choice.loaded, "SkylakeX");
  EXPECT_EQ(choice.asked, "");
  EXPECT_FALSE(choice.asked_by_user || choice.reexecuted);
}

TEST(BlasKernel, starts_again_for_a_better_one) {
  const BlasChoice choice = choose_blas_kernel({"Prescott", "SkylakeX", std::nullopt, std::nullopt});
  EXPECT_TRUE(must_reexecute(choice));
  EXPECT_EQ(choice.better, "SkylakeX");
}

TEST(BlasKernel, respects_the_users_choice) {
  const BlasChoice choice = choose_blas_kernel({"Haswell", "SkylakeX", "Haswell", std::nullopt});
  EXPECT_FALSE(must_reexecute(choice));
  EXPECT_TRUE(choice.asked_by_user);
  EXPECT_EQ(choice.asked, "Haswell");
  EXPECT_NE(choice.why.find("user"), std::string::npos);
  EXPECT_NE(choice.why.find("SkylakeX would fit"), std::string::npos);
}

TEST(BlasKernel, starts_again_only_once) {
  const BlasChoice mended = choose_blas_kernel({"SkylakeX", std::nullopt, "SkylakeX", "SkylakeX"});
  EXPECT_FALSE(must_reexecute(mended) || mended.asked_by_user);
  EXPECT_TRUE(mended.reexecuted);
  const BlasChoice stubborn = choose_blas_kernel({"Prescott", "SkylakeX", "SkylakeX", "SkylakeX"});
  EXPECT_FALSE(must_reexecute(stubborn));
  EXPECT_NE(mended.why, stubborn.why);
}

TEST(BlasKernel, leaves_an_unknown_library_alone) {
  EXPECT_FALSE(must_reexecute(choose_blas_kernel({"unknown", std::nullopt, std::nullopt, std::nullopt})));
}

}  // namespace
}  // namespace conclave::apps
