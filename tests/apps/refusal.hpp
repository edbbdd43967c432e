// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "tests/apps/program.hpp"

#include <gmock/gmock.h>

namespace conclave::test {

/// The program has ended with an error that says `part`, and what to do, once.
inline void expect_refusal(const Outcome& outcome, const std::string& part) {
  EXPECT_NE(outcome.exit_code, 0) << outcome.output;
  EXPECT_THAT(outcome.output, testing::HasSubstr(part));
  EXPECT_EQ(count(outcome.output, "hint: "), 1) << outcome.output;
}

}  // namespace conclave::test
