// SPDX-License-Identifier: BSD-3-Clause
// Who sends how many rows to whom, in which order, and what is in them.
#pragma once

#include "comm/plan/exchange_shape.hpp"
#include "runtime/core/matrix.hpp"
#include "runtime/core/options.hpp"

#include <array>
#include <functional>
#include <string>
#include <vector>

#include "tests/support/mpi_world.hpp"

namespace conclave::test {

/// How many rows go from s to d, among `size` ranks.
struct Pattern {
  std::string name;
  std::function<Index(Index s, Index d, Index size)> rows;
};

[[nodiscard]] inline const std::vector<Pattern>& patterns() {
  static const std::vector<Pattern> all{
      {"even", [](Index, Index, Index) { return 3; }},
      {"uneven", [](Index s, Index d, Index) { return (3 * s + 5 * d + 1) % 7; }},
      {"empty_ranks", [](Index s, Index d, Index) { return s % 2 == 1 || d % 3 == 1 ? 0 : 4 + s + d; }},
      {"all_to_one", [](Index s, Index d, Index size) { return d == size - 1 ? 2 * s + 1 : 0; }},
      {"one_to_all", [](Index s, Index d, Index size) { return s == size / 2 ? d + 1 : 0; }},
      {"self_only", [](Index s, Index d, Index) { return s == d ? 6 : 0; }},
      {"ring", [](Index s, Index d, Index size) { return d == (s + 1) % size ? 5 : 0; }},
      {"many", [](Index s, Index d, Index) { return 1000 + 10 * s + d; }},
      {"zero", [](Index, Index, Index) { return 0; }},
  };
  return all;
}

/// How rows stand: peer after peer on both sides; segment after segment where they arrive, as experts want them; or so
/// on both sides.
enum class Arrangement { by_peer, dispatch, scattered };
inline constexpr std::array all_arrangements{Arrangement::by_peer, Arrangement::dispatch, Arrangement::scattered};

[[nodiscard]] inline std::string_view name_of(Arrangement arrangement) {
  constexpr std::array<std::string_view, 3> names{"by peer", "dispatch", "scattered"};
  return names[static_cast<std::size_t>(arrangement)];
}

/// rows(peer) of each peer, cut into uneven segments whose number differs from rank to rank, some of them empty.
[[nodiscard]] inline plan::RowLayout in_segments(const std::function<Index(Index peer)>& rows) {
  const Index segments = 1 + (world().rank().value() * 3 + 2) % 5;
  std::vector<Index> counts;
  for (Index peer = 0; peer < world().size(); ++peer) {
    Index rest = rows(peer);
    for (Index i = 0; i < segments; ++i) {
      counts.push_back(i + 1 == segments ? rest : rest * ((peer + i) % 3) / 4);
      rest -= counts.back();
    }
  }
  return plan::RowLayout::by_segment(counts, world().size());
}

/// A pattern as this rank sees it.
[[nodiscard]] inline plan::ExchangeShape shape_of(const Pattern& pattern, Arrangement arrangement) {
  const Index rank = world().rank().value();
  const auto to = [&](Index peer) { return pattern.rows(rank, peer, world().size()); };
  const auto from = [&](Index peer) { return pattern.rows(peer, rank, world().size()); };
  std::vector<Index> rows_to;
  std::vector<Index> rows_from;
  for (Index peer = 0; peer < world().size(); ++peer) {
    rows_to.push_back(to(peer));
    rows_from.push_back(from(peer));
  }
  return {arrangement == Arrangement::scattered ? in_segments(to) : plan::RowLayout::by_peer(rows_to),
          arrangement == Arrangement::by_peer ? plan::RowLayout::by_peer(rows_from) : in_segments(from)};
}

/// The value in column c of the i-th row from s to d; exact in every type.
template <class T>
[[nodiscard]] T payload(Index s, Index d, Index i, Index c) {
  return static_cast<T>(((s * 8 + d) * 2048 + i) * 64 + c + 1);
}

/// The rows that this rank sends (source = this rank), or is to receive (source = the peer), where they stand.
template <class T>
[[nodiscard]] Matrix<T> rows_of(const plan::ExchangeShape& shape, Index width, bool sent) {
  const plan::RowLayout& layout = sent ? shape.sent() : shape.received();
  Matrix<T> rows(layout.num_rows(), width);
  const Index rank = world().rank().value();
  for (RankId peer; peer < RankId{layout.num_peers()}; ++peer) {
    Index i = 0;
    for (const Range& run : layout.runs(peer)) {
      for (Index row = run.begin; row < run.end; ++row, ++i) {
        for (Index c = 0; c < width; ++c) {
          rows(row, c) = sent ? payload<T>(rank, peer.value(), i, c) : payload<T>(peer.value(), rank, i, c);
        }
      }
    }
  }
  return rows;
}

/// Which ranks are taken to share a node: those that do, or others, as if the machine were several.
enum class Nodes { real, pairs, single, uneven, interleaved };
inline constexpr std::array all_nodes{Nodes::real, Nodes::pairs, Nodes::single, Nodes::uneven, Nodes::interleaved};

[[nodiscard]] inline std::string_view name_of(Nodes nodes) {
  constexpr std::array<std::string_view, 5> names{"real", "pairs", "single", "uneven", "interleaved"};
  return names[static_cast<std::size_t>(nodes)];
}

[[nodiscard]] inline plan::Topology topology_of(Nodes nodes) {
  if (nodes == Nodes::real) return world().topology();
  std::vector<Index> node_of;
  for (Index rank = 0; rank < world().size(); ++rank) {
    const Index uneven = rank < 3 ? 0 : (rank < 5 ? 1 : 2);
    node_of.push_back(nodes == Nodes::pairs    ? rank / 2
                      : nodes == Nodes::single ? rank
                      : nodes == Nodes::uneven ? uneven
                                               : rank % 2);
  }
  return plan::Topology(node_of);
}

/// Copies of every rank's tokens, several for most of them, as they are dispatched: sent by (receiver, segment, token),
/// standing by (segment, source, token) where they arrive.
struct Copies {
  explicit Copies(Index tokens) {
    const Index rank = world().rank().value();
    const Index size = world().size();
    std::vector<Index> to;
    std::vector<Index> arriving;
    std::vector<double> out;
    std::vector<double> in;
    for (Index peer = 0; peer < size; ++peer) {
      Index rows = 0;
      for (Index segment = 0; segment < segments; ++segment) {
        rows += append(rank, peer, segment, tokens, out, &sources);
        std::vector<double> unused;
        arriving.push_back(append(peer, rank, segment, tokens, unused, nullptr));
      }
      to.push_back(rows);
    }
    for (Index segment = 0; segment < segments; ++segment) {
      for (Index peer = 0; peer < size; ++peer) append(peer, rank, segment, tokens, in, nullptr);
    }
    shape = {plan::RowLayout::by_peer(to), plan::RowLayout::by_segment(arriving, size)};
    sent = Matrix<double>(shape.total_sent(), width);
    expected = Matrix<double>(shape.total_received(), width);
    std::ranges::copy(out, sent.flat().begin());
    std::ranges::copy(in, expected.flat().begin());
  }

  plan::ExchangeShape shape;
  std::vector<Index> sources;  // [rows sent] tokens
  Matrix<double> sent;         // [rows sent, width]
  Matrix<double> expected;     // [rows received, width]

  static constexpr Index width = 24;
  static constexpr Index segments = 2;  // of each receiver

  /// Whether a token of s goes to a segment of d.
  [[nodiscard]] static bool goes(Index s, Index token, Index d, Index segment) {
    return (token + s + d * segments + segment) % 3 != 0;
  }

 private:
  static Index append(Index s, Index d, Index segment, Index tokens, std::vector<double>& rows,
                      std::vector<Index>* sources_of_rows) {
    Index count = 0;
    for (Index token = 0; token < tokens; ++token) {
      if (!goes(s, token, d, segment)) continue;
      for (Index c = 0; c < width; ++c) rows.push_back(static_cast<double>((s * 1000 + token) * width + c));
      if (sources_of_rows != nullptr) sources_of_rows->push_back(token);
      ++count;
    }
    return count;
  }
};

}  // namespace conclave::test
