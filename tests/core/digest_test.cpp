// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/core/digest.hpp"

#include "runtime/core/random.hpp"

#include <gtest/gtest.h>

#include <set>
#include <vector>

namespace conclave {
namespace {

constexpr Index num_rows = 7;
constexpr Index width = 5;

std::vector<float> sample_row(Index row) {
  const Random random(3, RandomStream::initial);
  std::vector<float> values;
  for (Index j = 0; j < width; ++j) values.push_back(static_cast<float>(random.normal(row, j)));
  return values;
}

std::uint64_t digest_of(std::string_view name, Index index, const std::vector<float>& row) {
  Digest digest;
  digest.add<float>(name, index, row);
  return digest.value();
}

TEST(Digest, DoesNotDependOnTheOrderOrOnWhoHoldsARow) {
  Digest forward;
  for (Index i = 0; i < num_rows; ++i) forward.add<float>("weights", i, sample_row(i));
  Digest backward;
  for (Index i = num_rows - 1; i >= 0; --i) backward.add<float>("weights", i, sample_row(i));
  EXPECT_NE(forward.value(), 0U);
  EXPECT_EQ(forward.value(), backward.value());

  for (Index ranks = 1; ranks <= num_rows + 2; ++ranks) {  // the last ranks hold nothing
    Digest total;
    for (Index r = 0; r < ranks; ++r) {
      Digest part;
      const Range share = even_share(num_rows, ranks, r);
      for (Index i = share.begin; i < share.end; ++i) part.add<float>("weights", i, sample_row(i));
      total.merge(part);
    }
    EXPECT_EQ(total.value(), forward.value()) << ranks << " ranks";
  }
}

TEST(Digest, SeesNamesIndicesAndEveryBit) {
  const std::vector<float> row = sample_row(0);
  std::set<std::uint64_t> values{digest_of("weights", 0, row), digest_of("weights", 1, row),
                                 digest_of("weight", 0, row), digest_of("", 0, row)};
  EXPECT_EQ(values.size(), 4U);
  for (std::size_t j = 0; j < row.size(); ++j) {
    std::vector<float> changed = row;
    changed[j] = -changed[j];
    EXPECT_TRUE(values.insert(digest_of("weights", 0, changed)).second) << "element " << j;
  }
  std::vector<float> longer = row;
  longer.push_back(0.0F);
  EXPECT_TRUE(values.insert(digest_of("weights", 0, longer)).second);
}

TEST(Digest, SwappedRowsAreNoticed) {
  Digest right;
  right.add<float>("weights", 0, sample_row(0));
  right.add<float>("weights", 1, sample_row(1));
  Digest swapped;
  swapped.add<float>("weights", 0, sample_row(1));
  swapped.add<float>("weights", 1, sample_row(0));
  EXPECT_NE(right.value(), swapped.value());
}

TEST(Digest, CountsARowAddedTwiceAndAnEmptyRow) {
  const std::uint64_t once = digest_of("weights", 2, sample_row(2));
  Digest twice;
  twice.add<float>("weights", 2, sample_row(2));
  twice.add<float>("weights", 2, sample_row(2));
  EXPECT_EQ(twice.value(), 2 * once);
  EXPECT_NE(digest_of("weights", 0, {}), digest_of("weights", 1, {}));
  EXPECT_EQ(Digest{}.value(), 0U);
}

}  // namespace
}  // namespace conclave
