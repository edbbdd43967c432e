// SPDX-License-Identifier: BSD-3-Clause
#include "comm/mpi/reproducible_reduce.hpp"

#include "runtime/core/parallel.hpp"

#include <algorithm>

namespace conclave::comm {
namespace {

constexpr Index block_elements = plan::ReducePlan::block_elements;

// The elements `part` of each of the partial sums, every one filled up to whole blocks.
// blocks: [partial sums x blocks, block_elements]
template <class T>
void copy_blocks(std::span<const std::span<const T>> partial_sums, Range part, MatrixView<T> blocks) {
  T* to = blocks.data;
  const Index num_blocks = (part.size() + block_elements - 1) / block_elements;
  for (const std::span<const T> sums : partial_sums) {
    T* const filled = std::copy(sums.begin() + part.begin, sums.begin() + part.end, to);
    to += num_blocks * block_elements;
    std::fill(filled, to, T{});
  }
}

template <class T>
void add(const T* x, T* y, Index count) {
  for (Index i = 0; i < count; ++i) y[i] += x[i];
}

// The partial sums of all ranks for this rank's slice.
template <class T>
struct Pieces {
  plan::ExchangeShape shape;
  Matrix<T> own;       // [own pieces x blocks of the slice, block_elements]
  Matrix<T> received;  // [other ranks' pieces x blocks of the slice, block_elements], by rank

  // Where each piece stands, by its first group; null for groups that begin none.  [num_groups]
  std::vector<T*> by_first_group(const plan::ReducePlan& plan, RankId rank) {
    std::vector<T*> begins(static_cast<std::size_t>(plan.num_groups()), nullptr);
    const Index piece_elements = plan.blocks_of(rank).size() * block_elements;
    for (RankId peer; peer < RankId{plan.num_ranks()}; ++peer) {
      T* begin = peer == rank ? own.data() : received.data() + shape.receive_offset(peer) * block_elements;
      for (const Range& piece : plan.pieces_of(peer)) {
        begins[static_cast<std::size_t>(piece.begin)] = begin;
        begin += piece_elements;
      }
    }
    return begins;
  }
};

template <class T>
Pieces<T> exchange_pieces(const plan::ReducePlan& plan, RankId rank, const Exchange& exchange,
                          std::span<const std::span<const T>> partial_sums) {
  Pieces<T> pieces{plan.exchange(rank), {}, {}};
  const plan::ExchangeShape& shape = pieces.shape;
  Matrix<T> send;  // [pieces x blocks of the others' slices, block_elements], by rank
  send.resize(shape.total_sent(), block_elements);
  parallel_for(plan.num_ranks(), [&](Index p) {
    const RankId peer{p};
    if (peer == rank) return;
    copy_blocks(partial_sums, plan.slice_of(peer), send.view().row_block(shape.send_offset(peer), shape.rows_to(peer)));
  });
  pieces.received.resize(shape.total_received(), block_elements);
  Request request =
      exchange.start(shape, send.data(), pieces.received.data(), block_elements * static_cast<Index>(sizeof(T)));
  pieces.own.resize(std::ssize(partial_sums) * plan.blocks_of(rank).size(), block_elements);
  copy_blocks(partial_sums, plan.slice_of(rank), pieces.own.view());
  request.wait();
  return pieces;
}

}  // namespace

template <class T>
void reduce_scatter(const plan::ReducePlan& plan, const Communicator& communicator, const Exchange& exchange,
                    std::span<const std::span<const T>> partial_sums, std::span<T> slice) {
  const RankId rank = communicator.rank();
  invariant(plan.num_ranks() == communicator.size(), "a reduction planned for {} ranks on {}", plan.num_ranks(),
            communicator.size());
  invariant(partial_sums.size() == plan.pieces_of(rank).size() && std::ssize(slice) == plan.slice_of(rank).size(),
            "{} partial sums into {} values, planned {} into {}", partial_sums.size(), slice.size(),
            plan.pieces_of(rank).size(), plan.slice_of(rank).size());
  for (const std::span<const T> sums : partial_sums) {
    invariant(std::ssize(sums) == plan.num_elements(), "{} partial sums of {} elements", sums.size(),
              plan.num_elements());
  }
  Pieces<T> pieces = exchange_pieces(plan, rank, exchange, partial_sums);
  if (plan.num_groups() == 0) return;
  const std::vector<T*> sum_from = pieces.by_first_group(plan, rank);
  // (pieces of all ranks) x slice additions, block by block: a block stays in cache while its tree is finished.
  parallel_for(plan.blocks_of(rank).size(), [&](Index block) {
    const Index first = block * block_elements;
    const Index count = std::min(block_elements, std::ssize(slice) - first);
    for (const plan::Merge& merge : plan.finish()) {
      add(sum_from[static_cast<std::size_t>(merge.right)] + first,
          sum_from[static_cast<std::size_t>(merge.left)] + first, count);
    }
    add(sum_from.front() + first, slice.data() + first, count);
  });
}

template <class T>
void all_gather_slices(const plan::ReducePlan& plan, const Communicator& communicator, std::span<T> values) {
  invariant(plan.num_ranks() == communicator.size() && plan.num_elements() == std::ssize(values),
            "{} values on {} ranks, planned {} on {}", values.size(), communicator.size(), plan.num_elements(),
            plan.num_ranks());
  // Whole blocks travel as one datatype each, so that MPI counts blocks; a short last block follows by itself.
  const Index num_whole = plan.num_elements() / block_elements;
  std::vector<int> counts;
  std::vector<int> displacements;
  RankId tail_owner;
  for (RankId rank; rank < RankId{plan.num_ranks()}; ++rank) {
    const Range blocks = plan.blocks_of(rank);
    const Range whole = {std::min(blocks.begin, num_whole), std::min(blocks.end, num_whole)};
    counts.push_back(checked_int(whole.size(), "blocks to be gathered"));
    displacements.push_back(checked_int(whole.begin, "blocks to be gathered"));
    if (blocks.contains(num_whole)) tail_owner = rank;
  }
  const RowType block(block_elements, mpi_type<T>());
  check_mpi(MPI_Allgatherv(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, values.data(), counts.data(), displacements.data(),
                           block.handle(), communicator.handle()),
            "MPI_Allgatherv");
  const auto tail = values.subspan(static_cast<std::size_t>(num_whole * block_elements));
  if (!tail.empty()) communicator.broadcast(tail, tail_owner);
}

std::vector<double> gather_groups(const Communicator& communicator, std::span<const double> rows) {
  return communicator.gather_all(rows);
}

template void reduce_scatter<float>(const plan::ReducePlan&, const Communicator&, const Exchange&,
                                    std::span<const std::span<const float>>, std::span<float>);
template void reduce_scatter<double>(const plan::ReducePlan&, const Communicator&, const Exchange&,
                                     std::span<const std::span<const double>>, std::span<double>);
template void all_gather_slices<float>(const plan::ReducePlan&, const Communicator&, std::span<float>);
template void all_gather_slices<double>(const plan::ReducePlan&, const Communicator&, std::span<double>);

}  // namespace conclave::comm
