// SPDX-License-Identifier: BSD-3-Clause
#include "comm/mpi/reproducible_reduce.hpp"

#include "runtime/core/parallel.hpp"
#include "runtime/core/scratch.hpp"

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

template <class T>
void all_gather_slices(const plan::ReducePlan& plan, const Communicator& communicator, std::span<T> values) {
  invariant(plan.num_ranks() == communicator.size() && plan.num_elements() == std::ssize(values),
            "{} values on {} ranks, planned {} on {}", values.size(), communicator.size(), plan.num_elements(),
            plan.num_ranks());
  // Whole blocks travel as one datatype each, so that MPI counts blocks; a short last block follows by itself.
  const Index num_whole = plan.num_elements() / block_elements;
  Scratch scratch;
  const std::span<int> counts = scratch.values<int>(plan.num_ranks());
  const std::span<int> displacements = scratch.values<int>(plan.num_ranks());
  RankId tail_owner;
  for (RankId rank; rank < RankId{plan.num_ranks()}; ++rank) {
    const Range blocks = plan.blocks_of(rank);
    const Range whole = {std::min(blocks.begin, num_whole), std::min(blocks.end, num_whole)};
    const auto r = static_cast<std::size_t>(rank.value());
    counts[r] = checked_int(whole.size(), "blocks to be gathered");
    displacements[r] = checked_int(whole.begin, "blocks to be gathered");
    if (blocks.contains(num_whole)) tail_owner = rank;
  }
  const RowType block(block_elements, mpi_type<T>());
  check_mpi(MPI_Allgatherv(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, values.data(), counts.data(), displacements.data(),
                           block.handle(), communicator.handle()),
            "MPI_Allgatherv");
  const auto tail = values.subspan(static_cast<std::size_t>(num_whole * block_elements));
  if (!tail.empty()) communicator.broadcast(tail, tail_owner);
}

template class ReduceScatter<float>;
template class ReduceScatter<double>;
template void reduce_scatter<float>(const plan::ReducePlan&, const Communicator&, const Exchange&,
                                    std::span<const std::span<const float>>, std::span<float>);
template void reduce_scatter<double>(const plan::ReducePlan&, const Communicator&, const Exchange&,
                                     std::span<const std::span<const double>>, std::span<double>);
template void all_gather_slices<float>(const plan::ReducePlan&, const Communicator&, std::span<float>);
template void all_gather_slices<double>(const plan::ReducePlan&, const Communicator&, std::span<double>);

}  // namespace conclave::comm
