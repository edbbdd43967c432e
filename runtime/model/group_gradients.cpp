// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/model/group_gradients.hpp"

#include "runtime/core/parallel.hpp"
#include "runtime/core/scratch.hpp"
#include "runtime/core/vector_kernels.hpp"

#include <algorithm>
#include <iterator>

namespace conclave::model {
namespace {

// Elements that one thread adds at a time: a block of each of two sums stays in the first cache.
constexpr Index addition_block = 2048;

// Sums in the making, by the first group of each. A piece's first leaf lives in the piece's own array; the others
// borrow buffers, each given back when its sum has been merged into another. So there are never more buffers than
// leaves in the making plus levels of the tree.
template <class T>
class LiveSums {
 public:
  LiveSums(Range run, Index size, std::vector<Matrix<T>>& buffers)
      : run_(run),
        size_(size),
        buffers_(buffers),
        sums_(scratch_.values<Sum>(run.size())),
        free_(scratch_.values<std::size_t>(std::max(run.size(), std::ssize(buffers)))) {
    for (std::size_t i = 0; i < buffers_.size(); ++i) free_[num_free_++] = i;
  }

  void place(Index group, T* data) { at(group) = {data, none}; }
  void borrow(Index group) {
    if (num_free_ == 0) {
      free_[num_free_++] = buffers_.size();
      buffers_.emplace_back();
    }
    const std::size_t buffer = free_[--num_free_];
    buffers_[buffer].resize(1, size_);
    at(group) = {buffers_[buffer].data(), buffer};
  }
  void give_back(Index group) { free_[num_free_++] = at(group).buffer; }

  [[nodiscard]] std::span<T> of(Index group) const { return {at(group).data, static_cast<std::size_t>(size_)}; }
  [[nodiscard]] std::span<T> of(Index group, Range part) const {
    return of(group).subspan(static_cast<std::size_t>(part.begin), static_cast<std::size_t>(part.size()));
  }

 private:
  static constexpr std::size_t none = static_cast<std::size_t>(-1);
  struct Sum {
    T* data = nullptr;  // [size]
    std::size_t buffer = none;
  };
  [[nodiscard]] Sum& at(Index group) const { return sums_[static_cast<std::size_t>(group - run_.begin)]; }

  Scratch scratch_;
  Range run_;
  Index size_;
  std::vector<Matrix<T>>& buffers_;
  std::span<Sum> sums_;          // [groups of the run]
  std::span<std::size_t> free_;  // the first num_free_: buffers that hold no sum
  std::size_t num_free_ = 0;
};

// The additions of each element run in the order of `merges`, whichever thread has its block.
template <class T>
void merge(std::span<const Merge> merges, Index size, LiveSums<T>& live) {
  if (merges.empty()) return;
  const Index num_blocks = (size + addition_block - 1) / addition_block;
  parallel_for(num_blocks, [&](Index block) {
    const Range part{block * addition_block, std::min(size, (block + 1) * addition_block)};
    for (const Merge& m : merges) {
      axpy(T{1}, std::span<const T>(live.of(m.right, part)), live.of(m.left, part));
    }
  });
  for (const Merge& m : merges) live.give_back(m.right);
}

}  // namespace

template <class T>
GroupGradients<T>::GroupGradients(const plan::ReducePlan& plan, RankId rank)
    : num_parameters_(plan.num_elements()), run_(plan.groups_of(rank)) {
  std::ranges::copy(plan.pieces_of(rank), std::back_inserter(pieces_));
  for (const Range piece : pieces_) {
    sums_.emplace_back(1, num_parameters_);
    std::ranges::copy(merges_within(piece), std::back_inserter(merges_));
  }
}

template <class T>
void GroupGradients<T>::cover(Range parameters) {
  invariant(0 <= parameters.begin && parameters.begin <= parameters.end && parameters.end <= num_parameters_,
            "gradient of parameters [{}, {}) of {}", parameters.begin, parameters.end, num_parameters_);
  for (const Range done : covered_) {
    invariant(intersection(parameters, done).empty(),
              "a second sum for parameters [{}, {}) in one step: [{}, {}) have theirs", parameters.begin,
              parameters.end, done.begin, done.end);
  }
  covered_.insert(std::ranges::upper_bound(covered_, parameters.begin, {}, &Range::begin), parameters);
}

template <class T>
void GroupGradients<T>::add(Range parameters, FunctionRef<void(Index, ParameterView<T>)> body) {
  cover(parameters);
  LiveSums<T> live(run_, parameters.size(), buffers_);
  auto piece = pieces_.begin();
  auto due = merges_.begin();
  for (Index begin = run_.begin; begin < run_.end;) {
    const Range wave{begin, std::min(begin + num_threads(), run_.end)};
    for (Index group = wave.begin; group < wave.end; ++group) {
      if (piece != pieces_.end() && group == piece->begin) {
        live.place(group, sums_[static_cast<std::size_t>(piece - pieces_.begin())].data() + parameters.begin);
        ++piece;
      } else {
        live.borrow(group);
      }
    }
    const auto add_leaf = [&](Index i) {
      const std::span<T> leaf = live.of(wave.begin + i);
      std::ranges::fill(leaf, T{0});  // here rather than in clear(): what the body adds to is in the cache then
      body(wave.begin + i - run_.begin, ParameterView<T>(leaf, parameters));
    };
    parallel_for(wave.size(), add_leaf, [&] { make_progress(); });
    const auto later = std::find_if(due, merges_.end(), [&](const Merge& m) { return m.end > wave.end; });
    merge(std::span<const Merge>(due, later), parameters.size(), live);
    due = later;
    begin = wave.end;
  }
  if (observer_) observer_(parameters);
}

template <class T>
const std::vector<std::span<const T>>& GroupGradients<T>::partial_sums(Range parameters) {
  const auto clear = [&](Range gap) {
    const Range part = intersection(gap, parameters);
    if (part.empty()) return;
    for (Matrix<T>& sum : sums_) std::fill_n(sum.data() + part.begin, part.size(), T{0});
  };
  Index end = 0;  // of what was added so far
  for (const Range done : covered_) {
    clear({end, done.begin});
    end = done.end;
  }
  clear({end, num_parameters_});
  partial_sums_.clear();
  for (const Matrix<T>& sum : sums_) {
    partial_sums_.push_back(
        sum.flat().subspan(static_cast<std::size_t>(parameters.begin), static_cast<std::size_t>(parameters.size())));
  }
  return partial_sums_;
}

template class GroupGradients<float>;
template class GroupGradients<double>;

}  // namespace conclave::model
