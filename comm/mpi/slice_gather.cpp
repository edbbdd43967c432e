// SPDX-License-Identifier: BSD-3-Clause
#include "comm/mpi/slice_gather.hpp"

#include <algorithm>

namespace conclave::comm {
namespace {

constexpr Index block_elements = plan::ReducePlan::block_elements;

Index largest_slice_bytes(const plan::ReducePlan& plan, std::size_t value_bytes) {
  return plan::ReducePlan::largest_slice(plan.num_elements(), plan.num_ranks()) * static_cast<Index>(value_bytes);
}

}  // namespace

template <class T>
SliceGather<T>::SliceGather(const plan::ReducePlan& plan, const Exchange& exchange)
    : plan_(plan),
      topology_(exchange.topology()),
      me_(exchange.communicator().rank()),
      here_(topology_.node(me_)),
      rounds_(plan::gather_rounds(topology_.num_nodes(), largest_slice_bytes(plan, sizeof(T)))),
      block_(block_elements, mpi_type<T>()),
      rest_(std::max<Index>(1, plan.num_elements() % block_elements), mpi_type<T>()),
      between_nodes_(exchange.communicator(), Exchange::gather_tag),
      within_node_(exchange.communicator(), Exchange::gather_tag) {
  invariant(plan.num_ranks() == topology_.num_ranks(), "slices planned for {} ranks on {}", plan.num_ranks(),
            topology_.num_ranks());
}

// Of a round first what leaves, then what comes (comm/mpi/messages.hpp).
template <class T>
void SliceGather<T>::gather(std::span<T> values) {
  invariant(std::ssize(values) == plan_.num_elements(), "{} values, planned {}", values.size(), plan_.num_elements());
  values_ = values.data();
  Range arrived{0, 1};
  for (const plan::GatherRound& round : rounds_) {
    send_on(round);
    share(arrived);
    receive(round);
    between_nodes_.wait();
    arrived = round.arrived();
  }
  share(arrived);
  within_node_.wait();
}

template <class T>
RankId SliceGather<T>::carrier(NodeId node, Index place) const {
  return plan::slice_carrier(topology_, node, place);
}

template <class T>
void SliceGather<T>::send_on(const plan::GatherRound& round) {
  const NodeId to = plan::node_to(topology_, here_, round.distance);
  plan::for_each_slice(topology_, here_, round.ages, [&](RankId owner, Index place) {
    if (carrier(here_, place) == me_) send(between_nodes_, carrier(to, place), owner);
  });
}

template <class T>
void SliceGather<T>::receive(const plan::GatherRound& round) {
  const NodeId from = plan::node_from(topology_, here_, round.distance);
  plan::for_each_slice(topology_, from, round.ages, [&](RankId owner, Index place) {
    if (carrier(here_, place) == me_) receive(between_nodes_, carrier(from, place), owner);
  });
}

template <class T>
void SliceGather<T>::share(Range ages) {
  plan::for_each_slice(topology_, here_, ages, [&](RankId owner, Index place) {
    if (carrier(here_, place) != me_) return;
    for (const RankId mate : topology_.ranks(here_)) {
      if (mate != me_) send(within_node_, mate, owner);
    }
  });
  plan::for_each_slice(topology_, here_, ages, [&](RankId owner, Index place) {
    if (carrier(here_, place) != me_) receive(within_node_, carrier(here_, place), owner);
  });
}

template <class T>
void SliceGather<T>::send(Messages& messages, RankId to, RankId owner) const {
  for_each_part(owner,
                [&](std::byte* part, Index count, const RowType& type) { messages.send(to, part, count, type); });
}

template <class T>
void SliceGather<T>::receive(Messages& messages, RankId from, RankId owner) const {
  for_each_part(owner,
                [&](std::byte* part, Index count, const RowType& type) { messages.receive(from, part, count, type); });
}

template <class T>
template <class Transfer>
void SliceGather<T>::for_each_part(RankId owner, Transfer transfer) const {
  const Index num_whole = plan_.num_elements() / block_elements;
  const Range blocks = plan_.blocks_of(owner);
  const Range whole = {std::min(blocks.begin, num_whole), std::min(blocks.end, num_whole)};
  const auto at = [&](Index block) { return reinterpret_cast<std::byte*>(values_ + block * block_elements); };
  if (!whole.empty()) transfer(at(whole.begin), whole.size(), block_);
  if (blocks.contains(num_whole)) transfer(at(num_whole), 1, rest_);
}

template class SliceGather<float>;
template class SliceGather<double>;

}  // namespace conclave::comm
