// SPDX-License-Identifier: BSD-3-Clause
#include "experts/expert_shard.hpp"

#include "runtime/core/parallel.hpp"

#include <numeric>

namespace conclave::experts {
namespace {

std::string expert_prefix(const std::string& prefix, ExpertId expert) {
  return fmt::format("{}{:04}/", prefix, expert.value());
}

// The rows `rows` of a matrix of `columns` that begins at `offset` in a tape buffer.
template <class T>
MatrixView<T> part(Matrix<T>& buffer, Index offset, Range rows, Index columns) {
  if (buffer.size() == 0) return {nullptr, rows.size(), columns, columns};  // no rows, or no such buffer
  return {buffer.data() + offset + rows.begin * columns, rows.size(), columns, columns};
}

// Calls compute(block) where the rows `rows` of `to` are to be computed as a matrix, and brings them there if it is not
// the place itself: a block is copied while it is in the cache.
template <class T, class Compute>
void compute_rows(const ScatteredRows<T>& to, Range rows, const Compute& compute) {
  if (const std::optional<MatrixView<T>> block = to.as_block(rows)) {
    compute(*block);
    return;
  }
  thread_local Matrix<T> scratch;
  scratch.resize(rows.size(), to.cols());
  compute(scratch.view());
  for (Index i = 0; i < rows.size(); ++i) std::ranges::copy(scratch.row(i), to.row(rows.begin + i).begin());
}

}  // namespace

ParameterList expert_parameters(const std::vector<ExpertShape>& shapes, const std::string& prefix, ExpertId expert) {
  ParameterList list;
  const ExpertShape& shape = shapes[static_cast<std::size_t>(expert.value())];
  static_cast<void>(FeedForward<float>(list, expert_prefix(prefix, expert), shape, 1.0));
  return list;
}

template <class T>
ExpertShard<T>::ExpertShard(const std::vector<ExpertShape>& shapes, const std::vector<ExpertId>& mine,
                            const std::string& prefix, double output_scale, const ParameterList& base)
    : base_(1, base.size()) {
  for (const ExpertId id : mine) {
    invariant(0 <= id.value() && id.value() < static_cast<Index>(shapes.size()), "expert {} of {}", id.value(),
              shapes.size());
    experts_.emplace_back(id, shapes[static_cast<std::size_t>(id.value())], expert_prefix(prefix, id), output_scale);
  }
}

template <class T>
void ExpertShard<T>::begin(const std::vector<Index>& rows_per_expert) {
  invariant(rows_per_expert.size() == experts_.size(), "rows for {} experts given to a shard of {}",
            rows_per_expert.size(), experts_.size());
  blocks_.clear();
  Index row = 0;
  Index elements = 0;
  Index low_elements = 0;
  bool any_gate = false;
  for (std::size_t i = 0; i < experts_.size(); ++i) {
    Expert& expert = experts_[i];
    expert.rows = {row, row + rows_per_expert[i]};
    expert.tape_offset = elements;
    expert.low_offset = low_elements;
    row = expert.rows.end;
    elements += expert.rows.size() * expert.function.tape_columns();
    low_elements += expert.rows.size() * expert.function.low_columns();
    any_gate = any_gate || expert.function.has_gate();
    expert.first_block = std::ssize(blocks_);
    const Index num_blocks = (expert.rows.size() + block_rows - 1) / block_rows;
    for (Index b = 0; b < num_blocks; ++b) {
      const Range own = even_share(expert.rows.size(), num_blocks, b);
      blocks_.push_back({i, {expert.rows.begin + own.begin, expert.rows.begin + own.end}});
    }
  }
  pre_.resize(1, elements);
  hidden_.resize(1, elements);
  d_pre_.resize(1, elements);
  gate_.resize(1, any_gate ? elements : 0);
  d_gate_.resize(1, any_gate ? elements : 0);
  low_.resize(1, low_elements);
  d_low_.resize(1, low_elements);
}

// The rows `rows` (of all rows) of an expert's tape.
template <class T>
FeedForwardTape<T> ExpertShard<T>::tape(const Expert& expert, Range rows) {
  const Range own{rows.begin - expert.rows.begin, rows.end - expert.rows.begin};
  const Index columns = expert.function.tape_columns();
  return {part(pre_, expert.tape_offset, own, columns), part(gate_, expert.tape_offset, own, columns),
          part(hidden_, expert.tape_offset, own, columns),
          part(low_, expert.low_offset, own, expert.function.low_columns())};
}

template <class T>
FeedForwardTape<T> ExpertShard<T>::d_tape(const Expert& expert, Range rows) {
  const Range own{rows.begin - expert.rows.begin, rows.end - expert.rows.begin};
  const Index columns = expert.function.tape_columns();
  return {part(d_pre_, expert.tape_offset, own, columns),
          part(d_gate_, expert.tape_offset, own, columns),
          {},
          part(d_low_, expert.low_offset, own, expert.function.low_columns())};
}

template <class T>
Index ExpertShard<T>::first_row(Index expert) const {
  if (expert < num_experts()) return at(LocalExpertId{expert}).rows.begin;
  return experts_.empty() ? 0 : experts_.back().rows.end;
}

template <class T>
Range ExpertShard<T>::blocks_of(Range experts) const {
  const auto first = [&](Index expert) {
    return expert < num_experts() ? at(LocalExpertId{expert}).first_block : std::ssize(blocks_);
  };
  return {first(experts.begin), first(experts.end)};
}

template <class T>
void ExpertShard<T>::forward(Range experts, ConstMatrixView<T> x, const ScatteredRows<T>& y,
                             FunctionRef<void()> progress) {
  const Index rows = first_row(experts.end) - first_row(experts.begin);
  invariant(x.rows == rows && y.rows() == rows, "{} and {} rows for {} claims", x.rows, y.rows(), rows);
  const Range blocks = blocks_of(experts);
  const auto compute = [&](Index b) {
    const Block& block = blocks_[static_cast<std::size_t>(blocks.begin + b)];
    const Expert& expert = experts_[block.expert];
    compute_rows(y, within(experts, block.rows), [&](MatrixView<T> out) {
      expert.function.forward(values_of(expert), x.row_block(within(experts, block.rows)), tape(expert, block.rows),
                              out);
    });
  };
  parallel_for(blocks.size(), compute, progress);
}

template <class T>
void ExpertShard<T>::backward_input(Range experts, ConstMatrixView<T> dy, const ScatteredRows<T>& dx,
                                    FunctionRef<void()> progress) {
  const Range blocks = blocks_of(experts);
  const auto compute = [&](Index b) {
    const Block& block = blocks_[static_cast<std::size_t>(blocks.begin + b)];
    const Expert& expert = experts_[block.expert];
    compute_rows(dx, within(experts, block.rows), [&](MatrixView<T> out) {
      expert.function.backward_input(values_of(expert), tape(expert, block.rows),
                                     dy.row_block(within(experts, block.rows)), d_tape(expert, block.rows), T{0}, out);
    });
  };
  parallel_for(blocks.size(), compute, progress);
}

template <class T>
void ExpertShard<T>::backward_weights(Range experts, ConstMatrixView<T> x, ConstMatrixView<T> dy,
                                      FunctionRef<void()> progress) {
  const auto compute = [&](Index i) {
    Expert& expert = experts_[static_cast<std::size_t>(experts.begin + i)];
    const Range rows = within(experts, expert.rows);
    expert.function.backward_weights(x.row_block(rows), tape(expert, expert.rows), dy.row_block(rows),
                                     d_tape(expert, expert.rows), expert.accumulate,
                                     ParameterView<T>(expert.gradient.flat()));
    expert.accumulate = true;
  };
  parallel_for(experts.size(), compute, progress);
}

template <class T>
void ExpertShard<T>::backward_base(Range experts, LocalExpertId local, ConstMatrixView<T> x, ConstMatrixView<T> dy,
                                   ParameterView<T> base_gradient) {
  const Expert& expert = at(local);
  const Range rows = within(experts, expert.rows);
  expert.function.backward_base(x.row_block(rows), tape(expert, expert.rows), dy.row_block(rows),
                                d_tape(expert, expert.rows), base_gradient);
}

template class ExpertShard<float>;
template class ExpertShard<double>;

}  // namespace conclave::experts
