// SPDX-License-Identifier: BSD-3-Clause
// Index spaces as types: a rank is not an expert, and only named functions turn one into the other.
#pragma once

#include <compare>
#include <cstdint>
#include <functional>

namespace conclave {

/// Sizes, counts and positions. Signed and 64 bits wide, so that differences and large corpora are safe.
using Index = std::int64_t;

/// A number that names one thing of kind `Tag`. Ordered, hashable, incrementable; no arithmetic.
template <class Tag>
class Id {
 public:
  constexpr Id() = default;
  constexpr explicit Id(Index value) : value_(value) {}
  [[nodiscard]] constexpr Index value() const { return value_; }
  constexpr Id& operator++() {
    ++value_;
    return *this;
  }
  friend constexpr auto operator<=>(Id, Id) = default;

 private:
  Index value_ = 0;
};

using RankId = Id<struct RankTag>;                // an MPI rank of the run
using NodeId = Id<struct NodeTag>;                // a host
using ExpertId = Id<struct ExpertTag>;            // an expert of a layer, numbered over all ranks
using LocalExpertId = Id<struct LocalExpertTag>;  // an expert's place in its rank's shard
using TokenId = Id<struct TokenTag>;              // a token of the step, numbered over all ranks
using GroupId = Id<struct GroupTag>;              // a routing group of the step, numbered over all ranks

/// The largest dimension that options may ask for: products of two of them fit every integer that counts elements.
inline constexpr Index largest_size = Index{1} << 24;

/// Half-open range [begin, end) of positions.
struct Range {
  Index begin = 0;
  Index end = 0;
  [[nodiscard]] constexpr Index size() const { return end - begin; }
  [[nodiscard]] constexpr bool empty() const { return begin == end; }
  [[nodiscard]] constexpr bool contains(Index i) const { return begin <= i && i < end; }
  friend constexpr bool operator==(const Range&, const Range&) = default;
};

/// The positions in both; empty (begin == end) where there are none.
[[nodiscard]] constexpr Range intersection(Range a, Range b) {
  const Index begin = a.begin < b.begin ? b.begin : a.begin;
  const Index end = a.end < b.end ? a.end : b.end;
  return {begin, end < begin ? begin : end};
}

/// The `part`-th of `parts` contiguous shares of `count` things; sizes differ by at most one, the larger shares come
/// first. Shares are empty where there are more parts than things.
[[nodiscard]] constexpr Range even_share(Index count, Index parts, Index part) {
  const Index base = count / parts;
  const Index extra = count % parts;
  const Index begin = part * base + (part < extra ? part : extra);
  return {begin, begin + base + (part < extra ? 1 : 0)};
}

}  // namespace conclave

template <class Tag>
struct std::hash<conclave::Id<Tag>> {
  std::size_t operator()(conclave::Id<Tag> id) const noexcept { return std::hash<conclave::Index>{}(id.value()); }
};
