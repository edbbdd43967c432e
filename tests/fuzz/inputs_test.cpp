// SPDX-License-Identifier: BSD-3-Clause
// Text from outside, damaged in numbered ways: it is read or refused.
#include "tests/fuzz/inputs.hpp"

#include "runtime/core/error.hpp"
#include "tests/fuzz/damage.hpp"

#include <gtest/gtest.h>

namespace conclave::fuzz {
namespace {

class Inputs : public testing::TestWithParam<std::size_t> {
 protected:
  const Input& input_ = inputs()[GetParam()];

  /// Whether it is read; false: it is refused.
  bool is_read(const std::string& bytes) const {
    try {
      input_.read(bytes);
    } catch (const InputError& error) {
      EXPECT_FALSE(std::string(error.what()).empty());
      return false;
    }
    return true;
  }
};

TEST_P(Inputs, seeds_are_read) {
  for (const std::string& seed : input_.seeds) EXPECT_NO_THROW(input_.read(seed)) << seed;
}

TEST_P(Inputs, damaged_ones_are_read_or_refused) {
  constexpr Index count = 2000;
  Index num_read = 0;
  for (Index number = 0; number < count; ++number) {
    Draws draws(static_cast<Index>(GetParam()), number);
    std::string bytes = draws.of<std::string>(input_.seeds);
    const std::string said = damage_text(bytes, input_.words, draws);
    SCOPED_TRACE(fmt::format("number {}: {}\n{}", number, said, bytes));
    ASSERT_NO_THROW(num_read += is_read(bytes) ? 1 : 0);
  }
  EXPECT_GT(num_read, 0) << "nothing came through the first check";
}

INSTANTIATE_TEST_SUITE_P(All, Inputs, testing::Range(std::size_t{0}, std::size(inputs())),
                         [](const auto& test) { return std::string(inputs()[test.param].name); });

}  // namespace
}  // namespace conclave::fuzz
