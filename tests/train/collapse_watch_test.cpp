// SPDX-License-Identifier: BSD-3-Clause
// When the alarm of a collapsed router sounds, and what it says.
#include "runtime/train/collapse_watch.hpp"

#include <gtest/gtest.h>

namespace conclave::train {
namespace {

using Load = std::vector<Index>;

gating::RouterOptions router(Index experts, Index top_k) {
  gating::RouterOptions o;
  o.experts = experts;
  o.top_k = top_k;
  return o;
}

std::vector<model::LayerStatistics> layers(const std::vector<Load>& loads) {
  std::vector<model::LayerStatistics> result(loads.size());
  for (std::size_t l = 0; l < loads.size(); ++l) result[l].load = loads[l];
  return result;
}

const Load even{10, 10, 10, 10};
const Load collapsed{40, 0, 0, 0};
const Load halved{20, 20, 0, 0};

bool contains(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

TEST(CollapseWatch, SoundsWhenTheWindowIsFullAndNamesLayerThresholdAndExpert) {
  CollapseWatch watch({0.2, 3}, router(4, 1));
  EXPECT_TRUE(watch.add(1, layers({even, collapsed})).empty());
  EXPECT_TRUE(watch.add(2, layers({even, collapsed})).empty());
  const std::vector<std::string> alarms = watch.add(3, layers({even, {0, 0, 38, 2}}));
  ASSERT_EQ(alarms.size(), 0U) << "80 of 120 claims at one expert, 38 at another: 1.9 effective experts";
  ASSERT_TRUE(watch.add(4, layers({even, collapsed})).empty());
  ASSERT_TRUE(watch.add(5, layers({even, collapsed})).empty());
  const std::vector<std::string> now = watch.add(6, layers({even, collapsed}));
  ASSERT_EQ(now.size(), 1U);
  for (const char* part : {"step 6", "MoE layer 1", "last 3 steps", "4 experts worked as 1.00", "alarm is at 1.60",
                           "collapse_alarm = 0.2", "3 had no token", "expert 0 had 100 %"}) {
    EXPECT_TRUE(contains(now[0], part)) << part << " in: " << now[0];
  }
}

TEST(CollapseWatch, SoundsOnceUntilTheLayerHasRecovered) {
  CollapseWatch watch({0.2, 1}, router(4, 1));
  EXPECT_EQ(watch.add(1, layers({collapsed})).size(), 1U);
  EXPECT_TRUE(watch.add(2, layers({collapsed})).empty());
  EXPECT_TRUE(watch.add(3, layers({halved})).empty()) << "a third of the way to even";
  EXPECT_TRUE(watch.add(4, layers({collapsed})).empty()) << "it had not recovered";
  EXPECT_TRUE(watch.add(5, layers({even})).empty());
  EXPECT_EQ(watch.add(6, layers({collapsed})).size(), 1U);
}

// With two choices a token, two experts are the least: half of all claims each.
TEST(CollapseWatch, CountsFromTheLeastThatIsPossible) {
  CollapseWatch two({0.2, 1}, router(4, 2));
  EXPECT_EQ(two.add(1, layers({halved})).size(), 1U);
  CollapseWatch one({0.2, 1}, router(4, 1));
  EXPECT_TRUE(one.add(1, layers({halved})).empty());
  CollapseWatch all({0.2, 1}, router(4, 4));
  EXPECT_TRUE(all.add(1, layers({even})).empty()) << "every token uses every expert: nothing can collapse";
}

TEST(CollapseWatch, IsSilentWhereTheLoadIsTheUsersOwnOrTheAlarmIsOff) {
  gating::RouterOptions fixed = router(4, 1);
  fixed.router = "rule";
  CollapseWatch of_rules({0.2, 1}, fixed);
  EXPECT_TRUE(of_rules.add(1, layers({collapsed})).empty());
  CollapseWatch off({0.0, 1}, router(4, 1));
  EXPECT_TRUE(off.add(1, layers({collapsed})).empty());
  CollapseWatch without_layers({0.2, 1}, router(4, 1));
  EXPECT_TRUE(without_layers.add(1, {}).empty());
}

TEST(CollapseOptions, RefusesWhatCannotBe) {
  EXPECT_NO_THROW(validate(CollapseOptions{}));
  EXPECT_NO_THROW(validate(CollapseOptions{0.0, 1}));
  for (const CollapseOptions& o : {CollapseOptions{1.0, 20}, {-0.1, 20}, {std::nan(""), 20}, {0.2, 0}}) {
    EXPECT_THROW(validate(o), InputError) << o.collapse_alarm << " " << o.collapse_window;
  }
}

}  // namespace
}  // namespace conclave::train
