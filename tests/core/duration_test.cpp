// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/core/duration.hpp"

#include "runtime/core/options.hpp"

#include <gtest/gtest.h>

#include <utility>

namespace conclave {
namespace {

TEST(Duration, ReadsEveryForm) {
  const std::pair<const char*, double> forms[] = {{"0", 0.0},
                                                  {"90", 90.0},
                                                  {"0.5", 0.5},
                                                  {"45s", 45.0},
                                                  {"90m", 5400.0},
                                                  {"1h30m", 5400.0},
                                                  {"1.5h", 5400.0},
                                                  {"2d", 172800.0},
                                                  {"1d2h3m4s", 93784.0},
                                                  {"1d4s", 86404.0},
                                                  {"3:04", 184.0},
                                                  {"59:12", 3552.0},
                                                  {"1:02:03", 3723.0},
                                                  {"100:00:00", 360000.0},
                                                  {"1-2", 93600.0},
                                                  {"1-02:03", 93780.0},
                                                  {"1-02:03:04", 93784.0},
                                                  {"0-00:00:30", 30.0}};
  for (const auto& [text, seconds] : forms) {
    const auto parsed = parse_duration(text);
    ASSERT_TRUE(parsed) << text;
    EXPECT_EQ(parsed->seconds, seconds) << text;
  }
}

TEST(Duration, RefusesWhatIsNone) {
  for (const char* text : {"",      " ",    "-1",        "+1",    "1x",  "m",   "1m1",       "1m2m",    "1s1h",
                           "inf",   "nan",  "1e5",       "0x10",  "1:",  ":1",  "1:2:3:4",   "1-",      "-1:00",
                           "1-1-1", "1h-1", "1-1:2:3:4", "1.2.3", " 90", "90 ", "UNLIMITED", "NOT_SET", "INVALID"}) {
    EXPECT_FALSE(parse_duration(text)) << "'" << text << "'";
  }
  EXPECT_FALSE(parse_duration(std::string(400, '9')));
  EXPECT_FALSE(parse_duration(std::string(308, '9') + "d"));
}

TEST(Duration, ReadsWhatItWrites) {
  EXPECT_EQ(text_of({5400.0}), "1h30m");
  EXPECT_EQ(text_of({86400.0 + 1.0}), "1d1s");
  for (const double seconds : {0.0, 0.25, 1.0, 59.0, 60.0, 61.5, 3599.0, 3600.0, 86399.0, 93784.0, 1e9, 1e17,
                               2999999999999999999.0, 1e300, 1e-12, 0.1}) {
    const std::string text = text_of({seconds});
    const auto parsed = parse_duration(text);
    ASSERT_TRUE(parsed) << text;
    EXPECT_EQ(parsed->seconds, seconds) << text;
  }
}

TEST(Duration, IsAnOption) {
  Duration margin{30.0};
  std::optional<Duration> limit;
  OptionTable table;
  table.add("margin", margin, "a margin");
  table.add("limit", limit, "a limit");
  EXPECT_EQ(table.find("margin")->text(), "30s");
  EXPECT_EQ(table.find("limit")->text(), "auto");
  table.assign("margin", "2m");
  table.assign("limit", "1-00:00:00");
  EXPECT_EQ(margin.seconds, 120.0);
  EXPECT_EQ(limit, std::optional(Duration{86400.0}));
  EXPECT_EQ(table.find("limit")->text(), "1d");
  EXPECT_THROW(table.assign("margin", "auto"), InputError);
  EXPECT_THROW(table.assign("limit", "soon"), InputError);
  EXPECT_EQ(margin.seconds, 120.0);
  EXPECT_EQ(limit, std::optional(Duration{86400.0}));
  table.assign("limit", "auto");
  EXPECT_EQ(limit, std::nullopt);
}

}  // namespace
}  // namespace conclave
