// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/core/error.hpp"

#include <gtest/gtest.h>

#include <string>

namespace conclave {
namespace {

TEST(Error, CarriesAMessageAndAHint) {
  const InputError error("3 experts on 0 ranks", "start at least one rank");
  EXPECT_STREQ(error.what(), "3 experts on 0 ranks");
  EXPECT_EQ(error.hint(), "start at least one rank");
}

TEST(Error, InvariantNamesTheValuesAndThePlace) {
  EXPECT_NO_THROW(invariant(true, "never {}", 1));
  try {
    invariant(false, "{} is not {}", 4, "five");
    FAIL() << "a broken invariant passed";
  } catch (const InvariantError& error) {
    const std::string message = error.what();
    EXPECT_NE(message.find("4 is not five"), std::string::npos) << message;
    EXPECT_NE(message.find("error_test.cpp"), std::string::npos) << message;
    EXPECT_FALSE(error.hint().empty());
  }
}

TEST(Error, DebugCheckIsForDebugBuilds) {
#ifdef NDEBUG
  EXPECT_NO_THROW(debug_check(false, "not checked"));
#else
  EXPECT_THROW(debug_check(false, "checked"), InvariantError);
#endif
}

}  // namespace
}  // namespace conclave
