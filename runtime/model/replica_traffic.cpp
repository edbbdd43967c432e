// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/model/replica_traffic.hpp"

namespace conclave::model {
namespace {

template <class T>
std::byte* bytes_of(std::span<T> values) {
  return std::as_writable_bytes(values).data();
}

}  // namespace

template <class T>
ReplicaTraffic<T>::ReplicaTraffic(const ExpertMap& map, experts::ExpertShard<T>& shard,
                                  const comm::Communicator& communicator, Index layer)
    : map_(map),
      shard_(shard),
      sums_(communicator, static_cast<int>(2 * layer)),
      values_(communicator, static_cast<int>(2 * layer + 1)) {
  const std::vector<HostedExpert> hosted = map.hosted_by(communicator.rank());
  for (std::size_t i = 0; i < hosted.size(); ++i) {
    if (hosted[i].num_hosts == 1) continue;
    const LocalExpertId local{static_cast<Index>(i)};
    replicated_.emplace_back(local, hosted[i], shard.parameters(local).size());
  }
}

// Between two ranks messages come in the order of the experts, on both sides.
template <class T>
void ReplicaTraffic<T>::start_sums() {
  hidden_s_.reset();
  started_at_ = Clock::now();
  for (const Replicated& expert : replicated_) {
    if (expert.hosting.is_home()) continue;
    const MatrixView<T> sums = shard_.partial_sums(expert.local, expert.hosting.host);
    if (sums.rows > 0) sums_.send(rank_of(expert, 0), bytes_of(sums.flat()), sums.rows, expert.parameters);
  }
  for (const Replicated& expert : replicated_) {
    for (Index host = 1; expert.hosting.is_home() && host < expert.hosting.num_hosts; ++host) {
      const MatrixView<T> sums = shard_.partial_sums(expert.local, host);
      if (sums.rows > 0) sums_.receive(rank_of(expert, host), bytes_of(sums.flat()), sums.rows, expert.parameters);
    }
  }
}

template <class T>
void ReplicaTraffic<T>::note_hidden() {
  if (!hidden_s_) hidden_s_ = seconds_since(started_at_);
}

template <class T>
void ReplicaTraffic<T>::poll() {
  if (!replicated_.empty() && sums_.test()) note_hidden();
}

template <class T>
void ReplicaTraffic<T>::finish_sums(PhaseTimes& times) {
  if (replicated_.empty()) return;
  note_hidden();
  {
    const PhaseScope scope(times, Phase::wait, "gradients");
    sums_.wait();
  }
  times.add({.of = "gradients", .phase = Phase::reduce, .started_at = started_at_, .hidden_s = *hidden_s_});
  for (const Replicated& expert : replicated_) {
    if (expert.hosting.is_home()) shard_.add_partial_sums(expert.local);
  }
}

template <class T>
void ReplicaTraffic<T>::share_values() {
  const auto values_of = [&](const Replicated& expert) { return bytes_of(shard_.values(expert.local)); };
  for (const Replicated& expert : replicated_) {
    for (Index host = 1; expert.hosting.is_home() && host < expert.hosting.num_hosts; ++host) {
      values_.send(rank_of(expert, host), values_of(expert), 1, expert.parameters);
    }
  }
  for (const Replicated& expert : replicated_) {
    if (!expert.hosting.is_home()) values_.receive(rank_of(expert, 0), values_of(expert), 1, expert.parameters);
  }
  values_.wait();
}

template class ReplicaTraffic<float>;
template class ReplicaTraffic<double>;

}  // namespace conclave::model
