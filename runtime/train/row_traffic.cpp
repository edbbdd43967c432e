// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/train/row_traffic.hpp"

namespace conclave::train {

RowTraffic::RowTraffic(plan::Topology topology, RankId rank, Index row_bytes, Index limit)
    : topology_(std::move(topology)),
      rank_(rank),
      row_bytes_(row_bytes),
      limit_(limit),
      sent_(static_cast<std::size_t>(topology_.num_ranks()), 0) {}

void RowTraffic::add_pass(std::span<const model::MoeLayer<float>* const> layers) {
  has_layers_ = has_layers_ || !layers.empty();
  for (const model::MoeLayer<float>* layer : layers) {
    const model::ExpertTraffic& traffic = layer->traffic();
    for (Index wave = 0; wave < traffic.num_waves(); ++wave) {
      for (RankId peer; peer < RankId{topology_.num_ranks()}; ++peer) {
        sent_[static_cast<std::size_t>(peer.value())] += traffic.dispatch(wave).rows_to(peer);
      }
    }
  }
}

// Integers: any order of summing gives the same.
std::optional<TrafficRecord> RowTraffic::take(const comm::Communicator& communicator, Index step) {
  if (steps_ == 0 || !has_layers_) return {};
  TrafficRecord record{.step = step, .steps = steps_, .ranks = topology_.num_ranks(), .row_bytes = row_bytes_};
  if (record.ranks > limit_) record.nodes = topology_.num_nodes();
  if (record.places() > limit_) return {};
  const auto place_of = [&](RankId rank) { return record.nodes > 0 ? topology_.node(rank).value() : rank.value(); };
  record.rows.assign(static_cast<std::size_t>(record.places() * record.places()), 0);
  for (RankId peer; peer < RankId{record.ranks}; ++peer) {
    record.rows[static_cast<std::size_t>(place_of(rank_) * record.places() + place_of(peer))] +=
        std::exchange(sent_[static_cast<std::size_t>(peer.value())], 0);
  }
  communicator.sum(record.rows);
  steps_ = 0;
  return record;
}

}  // namespace conclave::train
