// SPDX-License-Identifier: BSD-3-Clause
#include "comm/mpi/bundle_contents.hpp"

#include "runtime/core/error.hpp"

#include <cstring>
#include <limits>

namespace conclave::comm {
namespace {

template <class T>
T read(const std::byte* from) {
  T value;
  std::memcpy(&value, from, sizeof(T));
  return value;
}

template <class T>
void write(std::byte* to, T value) {
  std::memcpy(to, &value, sizeof(T));
}

constexpr auto number_bytes = static_cast<Index>(sizeof(Index));
constexpr auto index_bytes = static_cast<Index>(sizeof(std::uint32_t));

}  // namespace

void BundleContents::sort_out(const plan::ExchangeShape& shape, const plan::Topology& topology, RankId rank,
                              const Sources& sources) {
  rows_.assign(static_cast<std::size_t>(topology.num_nodes()), {});
  entries_of_node_.assign(rows_.size(), {});
  entries_.clear();
  rows_to_rank_.clear();
  first_rank_of_node_.clear();
  std::ranges::fill(seen_, Seen{});
  for (NodeId node; node < NodeId{topology.num_nodes()}; ++node) {
    first_rank_of_node_.push_back(std::ssize(rows_to_rank_));
    if (node == topology.node(rank)) continue;
    plan::NodeRows& rows = rows_[static_cast<std::size_t>(node.value())];
    const Index first_entry = std::ssize(entries_);
    for (const RankId peer : topology.ranks(node)) {
      rows_to_rank_.push_back(shape.rows_to(peer));
      rows.rows_out += shape.rows_to(peer);
      rows.rows_in += shape.rows_from(peer);
      for (const Range& run : shape.sent().runs(peer)) {
        for (Index row = run.begin; row < run.end; ++row) add_row(row, node, sources);
      }
    }
    invariant(rows.distinct_out <= std::numeric_limits<std::uint32_t>::max(), "{} rows from a rank to a node",
              rows.distinct_out);
    entries_of_node_[static_cast<std::size_t>(node.value())] = {first_entry, std::ssize(entries_)};
  }
}

void BundleContents::add_row(Index row, NodeId node, const Sources& sources) {
  Index& distinct = rows_[static_cast<std::size_t>(node.value())].distinct_out;
  const auto place = static_cast<std::uint32_t>(distinct);
  if (!sources) {
    ++distinct;
    entries_.push_back({row, place, true});
    return;
  }
  const auto source = static_cast<std::size_t>((*sources)[static_cast<std::size_t>(row)]);
  if (source >= seen_.size()) seen_.resize(source + 1);
  Seen& seen = seen_[source];
  const bool is_first = seen.node != node.value();
  if (is_first) {
    seen = {node.value(), place};
    ++distinct;
  }
  entries_.push_back({row, seen.place, is_first});
}

void BundleContents::write_header(NodeId node, Index sender, const plan::BundleLayout& layout, Index rows_before,
                                  std::byte* bundle) const {
  write(bundle + sender * number_bytes, rows(node).distinct_out);
  const Index first = first_rank_of_node_[static_cast<std::size_t>(node.value())];
  for (Index receiver = 0; receiver < layout.receivers; ++receiver) {
    write(bundle + layout.counts_begin() + (sender * layout.receivers + receiver) * number_bytes,
          rows_to_rank_[static_cast<std::size_t>(first + receiver)]);
  }
  if (!layout.indexed) return;
  std::byte* to = bundle + layout.indices_begin() + rows_before * index_bytes;
  for_each_row(node, [&](Index /*row*/, Index place, bool /*is_first*/) {
    write(to, static_cast<std::uint32_t>(place));
    to += index_bytes;
  });
}

Index ArrivedBundle::distinct(Index sender) const { return read<Index>(bundle_ + sender * number_bytes); }

Index ArrivedBundle::count(Index sender, Index receiver) const {
  return read<Index>(bundle_ + layout_.counts_begin() + (sender * layout_.receivers + receiver) * number_bytes);
}

void ArrivedBundle::copy_rows(Index sender, Index receiver, std::span<const Range> runs, std::byte* to) const {
  Index rows_before = 0;  // of the senders before, to all receivers
  Index distinct_before = 0;
  for (Index s = 0; s < sender; ++s) {
    distinct_before += distinct(s);
    for (Index r = 0; r < layout_.receivers; ++r) rows_before += count(s, r);
  }
  Index next = 0;  // of the sender's rows, to all receivers
  for (Index r = 0; r < receiver; ++r) next += count(sender, r);
  const std::byte* const indices = bundle_ + layout_.indices_begin() + rows_before * index_bytes;
  const std::byte* const rows = bundle_ + layout_.rows_begin(rows_) + distinct_before * layout_.row_bytes;
  const auto row_bytes = static_cast<std::size_t>(layout_.row_bytes);
  for (const Range& run : runs) {
    if (row_bytes == 0) break;
    for (Index row = run.begin; row < run.end; ++row, ++next) {
      const Index place =
          layout_.indexed ? static_cast<Index>(read<std::uint32_t>(indices + next * index_bytes)) : next;
      std::memcpy(to + row * layout_.row_bytes, rows + place * layout_.row_bytes, row_bytes);
    }
  }
}

}  // namespace conclave::comm
