// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/sim/popularity.hpp"

#include "runtime/core/error.hpp"

#include <gtest/gtest.h>

namespace conclave::sim {
namespace {

TEST(Popularity, OneLineIsForAllSources) {
  const Popularity popularity = Popularity::read("2\n1\n1\n", 3, "weights");
  const Traffic traffic = popularity.traffic(100.0);
  EXPECT_DOUBLE_EQ(traffic.bytes(RankId{1}, RankId{0}), 50.0);
  EXPECT_DOUBLE_EQ(traffic.bytes(RankId{0}, RankId{2}), 25.0);
  EXPECT_EQ(traffic.terms().size(), 1U) << "no table of pairs";
  EXPECT_EQ(popularity.received(), (std::vector{1.5, 0.75, 0.75}));
}

TEST(Popularity, ManyLinesAreOneASource) {
  const Popularity popularity = Popularity::read("0 1 3\n0 0 0\n1, 0, 1\n", 3, "weights");
  const Traffic traffic = popularity.traffic(8.0);
  EXPECT_DOUBLE_EQ(traffic.bytes(RankId{0}, RankId{1}), 2.0);
  EXPECT_DOUBLE_EQ(traffic.bytes(RankId{0}, RankId{2}), 6.0);
  EXPECT_DOUBLE_EQ(traffic.bytes(RankId{1}, RankId{0}), 0.0) << "a source without weights sends nothing";
  EXPECT_DOUBLE_EQ(traffic.bytes(RankId{2}, RankId{0}), 4.0);
  EXPECT_EQ(popularity.received(), (std::vector{0.5, 0.25, 1.25}));
}

TEST(Popularity, CappedDropsWhatIsOverFromAllSourcesAlike) {
  const Popularity one = Popularity::read("6 1 1", 3, "weights").capped(1.5);
  EXPECT_EQ(one.received(), (std::vector{1.5, 0.375, 0.375}));
  const Popularity many = Popularity::read("0 0 1\n0 0 1\n1 1 2\n", 3, "weights").capped(1.25);
  EXPECT_DOUBLE_EQ(many.received()[2], 1.25);
  EXPECT_DOUBLE_EQ(many.received()[0], 0.25) << "who is not over loses nothing";
  EXPECT_DOUBLE_EQ(many.traffic(1.0).bytes(RankId{0}, RankId{2}), 0.5);
  EXPECT_EQ(Popularity::uniform(4).capped(1.0).received(), Popularity::uniform(4).received());
}

TEST(Popularity, RefusesWhatIsNone) {
  for (const std::string text : {"", "1 1", "1 1 1 1", "1 -1 1", "1 x 1", "1 nan 1", "1 inf 1", "0 0 0",
                                 "0 0 0 0 0 0 0 0 0", "1e308 1e308 1e308"}) {
    try {
      static_cast<void>(Popularity::read(text, 3, "some file"));
      ADD_FAILURE() << text;
    } catch (const InputError& error) {
      EXPECT_EQ(std::string(error.what()).find("some file"), 0U) << error.what();
      EXPECT_FALSE(error.hint().empty());
    }
  }
}

}  // namespace
}  // namespace conclave::sim
