// SPDX-License-Identifier: BSD-3-Clause
#include "experts/expert_shard.hpp"

#include "runtime/core/parallel.hpp"
#include "runtime/core/reduction_tree.hpp"
#include "runtime/core/scratch.hpp"
#include "runtime/core/vector_kernels.hpp"

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
  Scratch scratch;
  const MatrixView<T> results = scratch.matrix<T>(rows.size(), to.cols());
  compute(results);
  for (Index i = 0; i < rows.size(); ++i) std::ranges::copy(results.row(i), to.row(rows.begin + i).begin());
}

}  // namespace

ParameterList expert_parameters(const std::vector<ExpertShape>& shapes, const std::string& prefix, ExpertId expert) {
  ParameterList list;
  const ExpertShape& shape = shapes[static_cast<std::size_t>(expert.value())];
  static_cast<void>(FeedForward<float>(list, expert_prefix(prefix, expert), shape, 1.0));
  return list;
}

template <class T>
ExpertShard<T>::ExpertShard(const std::vector<ExpertShape>& shapes, const std::vector<HostedExpert>& mine,
                            const std::string& prefix, double output_scale, const ParameterList& base, Index block_rows)
    : block_rows_(block_rows), base_(1, base.size()) {
  for (const HostedExpert& hosted : mine) {
    const Index id = hosted.id.value();
    invariant(0 <= id && id < std::ssize(shapes), "expert {} of {}", id, shapes.size());
    invariant(base.size() == 0 || hosted.num_hosts == 1, "expert {}, which shares a base, on {} ranks", id,
              hosted.num_hosts);
    experts_.emplace_back(hosted, shapes[static_cast<std::size_t>(id)], expert_prefix(prefix, hosted.id), output_scale);
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
    expert.cut = RowCut(rows_per_expert[i], block_rows_);
    expert.segments = expert.cut.segments_of_host(expert.hosting.host, expert.hosting.num_hosts);
    const Range of_expert = expert.cut.rows_of(expert.segments);
    expert.rows = {row, row + of_expert.size()};
    plan_partial_sums(expert);
    expert.tape_offset = elements;
    expert.low_offset = low_elements;
    elements += expert.rows.size() * expert.function.tape_columns();
    low_elements += expert.rows.size() * expert.function.low_columns();
    any_gate = any_gate || expert.function.has_gate();
    expert.first_block = std::ssize(blocks_);
    const Range blocks = expert.cut.blocks_of(expert.segments);
    for (Index b = blocks.begin; b < blocks.end; ++b) {
      const Range own = expert.cut.block(b);
      const Index before = row - of_expert.begin;
      blocks_.push_back({i, {before + own.begin, before + own.end}});
    }
    row = expert.rows.end;
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
    if (expert.segments.empty()) return;
    const Range rows = within(experts, expert.rows);
    const ConstMatrixView<T> own_x = x.row_block(rows);
    const ConstMatrixView<T> own_dy = dy.row_block(rows);
    if (expert.is_shared_out()) {
      const MatrixView<T> sums = partial_sums(LocalExpertId{experts.begin + i}, expert.hosting.host);
      for (Index s = 0; s < sums.rows; ++s) {
        sum_segments(expert, expert.sums[static_cast<std::size_t>(s)], own_x, own_dy, sums.row(s));
      }
      return;
    }
    const std::span<T> gradient = expert.gradient.flat();
    if (expert.cut.num_segments() == 1) {
      add_segment(expert, 0, own_x, own_dy, expert.accumulate, gradient);
    } else if (!expert.accumulate) {
      sum_segments(expert, expert.segments, own_x, own_dy, gradient);
    } else {
      Scratch scratch;
      const std::span<T> sum = scratch.values<T>(std::ssize(gradient));
      sum_segments(expert, expert.segments, own_x, own_dy, sum);
      axpy<T>(T{1}, sum, gradient);
    }
    expert.accumulate = true;
  };
  parallel_for(experts.size(), compute, progress);
}

// x and dy are the rows of all segments that are computed here.
template <class T>
void ExpertShard<T>::add_segment(Expert& expert, Index segment, ConstMatrixView<T> x, ConstMatrixView<T> dy,
                                 bool accumulate, std::span<T> sum) {
  const Index before = expert.cut.rows_of(expert.segments).begin;
  const Range of_expert = expert.cut.rows_of({segment, segment + 1});
  const Range rows{of_expert.begin - before, of_expert.end - before};
  const Range of_tape{expert.rows.begin + rows.begin, expert.rows.begin + rows.end};
  expert.function.backward_weights(x.row_block(rows), tape(expert, of_tape), dy.row_block(rows),
                                   d_tape(expert, of_tape), accumulate, ParameterView<T>(sum));
}

// sum = the sum of the segments' gradients in the tree of runtime/core/reduction_tree.hpp, of which they are a node.
template <class T>
void ExpertShard<T>::sum_segments(Expert& expert, Range segments, ConstMatrixView<T> x, ConstMatrixView<T> dy,
                                  std::span<T> sum) {
  if (segments.size() == 1) {
    add_segment(expert, segments.begin, x, dy, false, sum);
    return;
  }
  sum_segments(expert, {segments.begin, middle(segments)}, x, dy, sum);
  Scratch scratch;
  const std::span<T> right = scratch.values<T>(std::ssize(sum));
  sum_segments(expert, {middle(segments), segments.end}, x, dy, right);
  axpy<T>(T{1}, right, sum);
}

// Those that the rank has something to do with: at home all, else its own.
template <class T>
void ExpertShard<T>::plan_partial_sums(Expert& expert) {
  expert.sums.clear();
  if (expert.is_shared_out()) {
    const HostedExpert& h = expert.hosting;
    const Range segments = h.is_home() ? Range{0, expert.cut.num_segments()} : expert.segments;
    for (Index host = 0; host < h.num_hosts; ++host) {
      const Range here = intersection(segments, expert.cut.segments_of_host(host, h.num_hosts));
      std::ranges::copy(complete_subtrees(expert.cut.num_segments(), here), std::back_inserter(expert.sums));
    }
  }
  expert.partial_sums.resize(std::ssize(expert.sums), expert.list.size());
}

template <class T>
MatrixView<T> ExpertShard<T>::partial_sums(LocalExpertId local, Index host) {
  Expert& expert = at(local);
  const Range segments = expert.cut.segments_of_host(host, expert.hosting.num_hosts);
  const auto first = std::ranges::find_if(expert.sums, [&](Range s) { return s.begin >= segments.begin; });
  const auto last = std::ranges::find_if(expert.sums, [&](Range s) { return s.begin >= segments.end; });
  return expert.partial_sums.view().row_block({first - expert.sums.begin(), last - expert.sums.begin()});
}

template <class T>
void ExpertShard<T>::add_partial_sums(LocalExpertId local) {
  Expert& expert = at(local);
  invariant(expert.hosting.is_home(), "partial sums of expert {} added up by its host {}", expert.hosting.id.value(),
            expert.hosting.host);
  if (!expert.is_shared_out()) return;
  const auto sum_from = [&](Index segment) {
    const auto found = std::ranges::find(expert.sums, segment, &Range::begin);
    return expert.partial_sums.view().row(found - expert.sums.begin());
  };
  const std::vector<Merge> merges = finishing_merges(expert.cut.num_segments(), expert.sums);
  const std::span<T> gradient = expert.gradient.flat();
  // Block by block: it stays in the cache while its tree is finished.
  constexpr Index elements = 4096;
  parallel_for((std::ssize(gradient) + elements - 1) / elements, [&](Index block) {
    const auto begin = static_cast<std::size_t>(block * elements);
    const auto part = [&](std::span<T> all) {
      return all.subspan(begin, std::min(static_cast<std::size_t>(elements), all.size() - begin));
    };
    for (const Merge& merge : merges) axpy<T>(T{1}, part(sum_from(merge.right)), part(sum_from(merge.left)));
    if (expert.accumulate) {
      axpy<T>(T{1}, part(sum_from(0)), part(gradient));
    } else {
      std::ranges::copy(part(sum_from(0)), part(gradient).begin());
    }
  });
  expert.accumulate = true;
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
