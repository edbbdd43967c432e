// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/train/trace_options.hpp"

#include <gtest/gtest.h>

namespace conclave::train {
namespace {

TEST(TraceOptions, StepsAreOneOrARange) {
  for (const auto& [text, first, last] : {std::tuple{"5", 5, 5}, {"10..12", 10, 12}, {"1..1", 1, 1}}) {
    const auto steps = parse_steps(text);
    ASSERT_TRUE(steps) << text;
    EXPECT_EQ(steps->first, first);
    EXPECT_EQ(steps->last, last);
  }
  for (const char* text : {"", "0", "0..2", "-1", "3..2", "..", "1..", "..2", "1..2..3", "1.5", "a", " 1", "1-2",
                           "1...2", "99999999999999999999"}) {
    EXPECT_FALSE(parse_steps(text)) << text;
  }
}

std::string refusal(const TraceOptions& options, Index steps) {
  try {
    validate(options, steps);
  } catch (const InputError& error) {
    return fmt::format("{}|{}", error.what(), error.hint());
  }
  return {};
}

TEST(TraceOptions, WhatCannotBeTracedIsRefusedWithItsValues) {
  EXPECT_EQ(refusal({}, 8), "");
  EXPECT_EQ(refusal({"t.json", "8"}, 8), "");
  EXPECT_EQ(refusal({"t.json", "1..100"}, 1000), "");
  const auto contains = [](const std::string& text, std::string_view part) {
    return text.find(part) != std::string::npos;
  };
  for (const auto& [options, part] :
       {std::pair{TraceOptions{"t.json", ""}, "trace = t.json without trace_steps"},
        {TraceOptions{"", "5"}, "trace_steps = 5 without trace"},
        {TraceOptions{"t.json", "3..2"}, "trace_steps = '3..2'"},
        {TraceOptions{"t.json", "7..9"}, "trace_steps = 7..9 of a run of 8 steps|name steps from 1 to 8"}}) {
    EXPECT_TRUE(contains(refusal(options, 8), part)) << refusal(options, 8);
  }
  EXPECT_TRUE(contains(refusal({"t.json", "1..101"}, 1000), "101 steps|name at most 100"));
}

TEST(TraceOptions, NothingIsTracedWithoutAFile) {
  EXPECT_FALSE(TraceOptions{}.steps());
  EXPECT_EQ((TraceOptions{"t.json", "2..3"}.steps()->last), 3);
}

}  // namespace
}  // namespace conclave::train
