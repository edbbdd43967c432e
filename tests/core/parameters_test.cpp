// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/core/parameters.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

namespace conclave {
namespace {

constexpr Index seed = 17;

ParameterList sample_list() {
  ParameterList list;
  list.add_matrix("embedding", 7, 5, {.deviation = 0.5});
  list.add_vector("norm", 6, {.constant = 1.0});
  list.add_matrix("head", 3, 9, {.deviation = 0.02, .constant = 2.0});
  list.add_vector("bias", 0, {});
  return list;
}

template <class T>
std::vector<T> initial_values(const ParameterList& list, Range range, Index with_seed = seed) {
  std::vector<T> values(static_cast<std::size_t>(range.size()), T(-99));
  initialise<T>(list, range, with_seed, values);
  return values;
}

TEST(ParameterList, GivesPlacesInOrder) {
  const ParameterList list = sample_list();
  ASSERT_EQ(list.entries().size(), 4U);
  EXPECT_EQ(list.size(), 35 + 6 + 27);
  const ParameterEntry& head = list.entries()[2];
  EXPECT_EQ(head.tensor.offset, 41);
  EXPECT_EQ(head.tensor.range(), (Range{41, 68}));
  EXPECT_EQ(head.shape, (std::vector<Index>{3, 9}));
  EXPECT_TRUE(head.decays);
  const ParameterEntry& norm = list.entries()[1];
  EXPECT_EQ(norm.shape, std::vector<Index>{6});
  EXPECT_EQ(norm.tensor.rows, 1);
  EXPECT_FALSE(norm.decays);
  EXPECT_EQ(list.entries()[3].tensor.size(), 0);
}

TEST(ParameterView, SeesTensorsOfTheWholeOrOfAPart) {
  const ParameterList list = sample_list();
  std::vector<double> whole(static_cast<std::size_t>(list.size()));
  for (std::size_t i = 0; i < whole.size(); ++i) whole[i] = static_cast<double>(i);
  const ParameterView<double> view{std::span<double>(whole)};
  const Tensor head = list.entries()[2].tensor;
  EXPECT_EQ(view.matrix(head)(1, 2), 41.0 + 9 + 2);
  EXPECT_EQ(view.vector(list.entries()[1].tensor).size(), 6U);

  const ParameterView<double> part{std::span<double>(whole).subspan(40, 28), Range{40, 68}};
  EXPECT_EQ(&part.matrix(head)(1, 2), &view.matrix(head)(1, 2));
  EXPECT_THROW((void)part.matrix(list.entries()[0].tensor), InvariantError);
  EXPECT_THROW((void)part.vector(list.entries()[1].tensor), InvariantError);
  EXPECT_THROW((ParameterView<double>{std::span<double>(whole), Range{0, 3}}), InvariantError);

  const ParameterView<const double> read_only = part;
  EXPECT_EQ(read_only.range(), (Range{40, 68}));
  EXPECT_EQ(read_only.matrix(head)(2, 8), 67.0);
}

template <class T>
class Initialise : public testing::Test {};
using Types = testing::Types<float, double>;
TYPED_TEST_SUITE(Initialise, Types);

TYPED_TEST(Initialise, AnElementIsTheSameInEveryRange) {
  const ParameterList list = sample_list();
  const auto whole = initial_values<TypeParam>(list, {0, list.size()});
  ASSERT_GT(std::count_if(whole.begin(), whole.end(), [](TypeParam v) { return v != TypeParam(1); }), 60);
  for (Index begin = 0; begin <= list.size(); begin += 3) {
    for (Index end = begin; end <= list.size(); end += 5) {
      const auto part = initial_values<TypeParam>(list, {begin, end});
      EXPECT_TRUE(std::equal(part.begin(), part.end(), whole.begin() + begin)) << begin << " to " << end;
    }
  }
}

TYPED_TEST(Initialise, DrawsBelongToTheNameNotToThePlace) {
  const ParameterList list = sample_list();
  const auto before = initial_values<TypeParam>(list, {41, 68});
  ParameterList alone;
  alone.add_matrix("head", 3, 9, {.deviation = 0.02, .constant = 2.0});
  EXPECT_EQ(initial_values<TypeParam>(alone, {0, 27}), before);
  EXPECT_NE(initial_values<TypeParam>(alone, {0, 27}, seed + 1), before);
  ParameterList renamed;
  renamed.add_matrix("heads", 3, 9, {.deviation = 0.02, .constant = 2.0});
  EXPECT_NE(initial_values<TypeParam>(renamed, {0, 27}), before);
}

TYPED_TEST(Initialise, FollowsTheDescription) {
  ParameterList list;
  constexpr Index count = 10'000;
  list.add_vector("constant", 4, {.constant = 1.5});
  list.add_matrix("normal", 100, count / 100, {.deviation = 0.25, .constant = -1.0});
  const auto values = initial_values<TypeParam>(list, {0, list.size()});
  for (std::size_t i = 0; i < 4; ++i) EXPECT_EQ(values[i], TypeParam(1.5));
  double sum = 0.0;
  double squares = 0.0;
  for (std::size_t i = 4; i < values.size(); ++i) {
    const double centred = static_cast<double>(values[i]) + 1.0;
    sum += centred;
    squares += centred * centred;
  }
  const double root = std::sqrt(static_cast<double>(count));  // five standard errors
  EXPECT_NEAR(sum / count, 0.0, 5.0 * 0.25 / root);
  EXPECT_NEAR(squares / count, 0.0625, 5.0 * std::sqrt(2.0) * 0.0625 / root);
}

TEST(InitialiseChecks, TheValuesMustFitTheRange) {
  const ParameterList list = sample_list();
  std::vector<float> values(3);
  EXPECT_THROW(initialise<float>(list, {0, 4}, seed, values), InvariantError);
}

}  // namespace
}  // namespace conclave
