// SPDX-License-Identifier: BSD-3-Clause
#include "comm/mpi/reproducible_reduce.hpp"

#include "runtime/core/parallel.hpp"

#include <algorithm>

namespace conclave::comm {
namespace {

constexpr Index block_elements = plan::ReducePlan::block_elements;

template <class T>
void add(const T* x, T* y, Index count) {
  for (Index i = 0; i < count; ++i) y[i] += x[i];
}

}  // namespace

template <class T>
ReduceScatter<T>::ReduceScatter(const plan::ReducePlan& plan, const Communicator& communicator,
                                const Exchange& exchange)
    : plan_(plan), rank_(communicator.rank()), inbox_(exchange.make_inbox("gradients")) {
  invariant(plan.num_ranks() == communicator.size(), "a reduction planned for {} ranks on {}", plan.num_ranks(),
            communicator.size());
  shape_ = plan.exchange(rank_);
}

// Every rank's slice of each of the partial sums, in whole blocks: the last one is filled up.
template <class T>
void ReduceScatter<T>::start(std::span<const std::span<const T>> partial_sums) {
  invariant(partial_sums.size() == plan_.pieces_of(rank_).size(), "{} partial sums, planned {}", partial_sums.size(),
            plan_.pieces_of(rank_).size());
  for (const std::span<const T> sums : partial_sums) {
    invariant(std::ssize(sums) == plan_.num_elements(), "{} partial sums of {} elements", sums.size(),
              plan_.num_elements());
  }
  inbox_->open(shape_, block_elements * static_cast<Index>(sizeof(T)));
  const ScatteredRows<T> blocks = inbox_->template outgoing<T>();
  const Index num_pieces = std::ssize(partial_sums);
  parallel_for(plan_.num_ranks() * num_pieces, [&](Index i) {
    const Range part = plan_.blocks_of(RankId{i / num_pieces});
    const std::span<const T> sums = partial_sums[static_cast<std::size_t>(i % num_pieces)];
    // The rows of the peers before, which are rows of all pieces, then of this peer's pieces before.
    Index row = part.begin * num_pieces + part.size() * (i % num_pieces);
    for (Index block = part.begin; block < part.end; ++block, ++row) {
      const Index first = block * block_elements;
      const auto elements = sums.subspan(static_cast<std::size_t>(first),
                                         static_cast<std::size_t>(std::min(block_elements, std::ssize(sums) - first)));
      const std::span<T> to = blocks.row(row);
      std::fill(std::ranges::copy(elements, to.begin()).out, to.end(), T{});
    }
  });
  inbox_->start();
}

// Pieces arrive by rank, which is by group.
template <class T>
void ReduceScatter<T>::find_sums() {
  sums_.assign(static_cast<std::size_t>(plan_.num_groups()), nullptr);
  const Index piece_elements = plan_.blocks_of(rank_).size() * block_elements;
  T* begin = inbox_->template arrived<T>().data;
  for (RankId peer; peer < RankId{plan_.num_ranks()}; ++peer) {
    for (const Range& piece : plan_.pieces_of(peer)) {
      sums_[static_cast<std::size_t>(piece.begin)] = begin;
      begin += piece_elements;
    }
  }
}

template <class T>
void ReduceScatter<T>::finish(std::span<T> slice) {
  invariant(std::ssize(slice) == plan_.slice_of(rank_).size(), "a slice of {} values, planned {}", slice.size(),
            plan_.slice_of(rank_).size());
  if (plan_.num_groups() == 0) return;
  find_sums();
  // (pieces of all ranks) x slice additions, block by block: a block stays in cache while its tree is finished.
  parallel_for(plan_.blocks_of(rank_).size(), [&](Index block) {
    const Index first = block * block_elements;
    const Index count = std::min(block_elements, std::ssize(slice) - first);
    for (const Merge& merge : plan_.finish()) {
      add(sums_[static_cast<std::size_t>(merge.right)] + first, sums_[static_cast<std::size_t>(merge.left)] + first,
          count);
    }
    add(sums_.front() + first, slice.data() + first, count);
  });
}

template <class T>
void reduce_scatter(const plan::ReducePlan& plan, const Communicator& communicator, const Exchange& exchange,
                    std::span<const std::span<const T>> partial_sums, std::span<T> slice) {
  ReduceScatter<T> reduce(plan, communicator, exchange);
  invariant(std::ssize(slice) == plan.slice_of(communicator.rank()).size(), "a slice of {} values, planned {}",
            slice.size(), plan.slice_of(communicator.rank()).size());
  reduce.start(partial_sums);
  reduce.wait();
  reduce.finish(slice);
}

template class ReduceScatter<float>;
template class ReduceScatter<double>;
template void reduce_scatter<float>(const plan::ReducePlan&, const Communicator&, const Exchange&,
                                    std::span<const std::span<const float>>, std::span<float>);
template void reduce_scatter<double>(const plan::ReducePlan&, const Communicator&, const Exchange&,
                                     std::span<const std::span<const double>>, std::span<double>);

}  // namespace conclave::comm
