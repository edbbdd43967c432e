// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/model/expert_traffic.hpp"

#include "runtime/core/parallel.hpp"

#include <numeric>

namespace conclave::model {
namespace {

// counts[source * mine + i]: rows that `source` has for this rank's i-th expert.
std::vector<std::int64_t> exchange_counts(const comm::Communicator& communicator, const ExpertMap& map,
                                          const std::vector<Index>& rows_per_expert) {
  const auto mine = static_cast<Index>(map.experts_of(communicator.rank()).size());
  std::vector<Index> to(static_cast<std::size_t>(communicator.size()));
  for (std::size_t r = 0; r < to.size(); ++r) {
    to[r] = static_cast<Index>(map.experts_of(RankId{static_cast<Index>(r)}).size());
  }
  return communicator.all_to_all(rows_per_expert,
                                 plan::ExchangeShape(std::move(to), std::vector<Index>(to.size(), mine)));
}

plan::ExchangeShape shape_of(const ExpertMap& map, const std::vector<Index>& rows_per_expert,
                             const std::vector<std::int64_t>& arriving) {
  std::vector<Index> sent;
  std::vector<Index> received;
  auto next = rows_per_expert.begin();
  for (Index r = 0; r < map.num_ranks(); ++r) {
    const auto last = next + static_cast<std::ptrdiff_t>(map.experts_of(RankId{r}).size());
    sent.push_back(std::accumulate(next, last, Index{0}));
    next = last;
  }
  const auto mine = arriving.size() / static_cast<std::size_t>(map.num_ranks());
  for (std::size_t r = 0; r < sent.size(); ++r) {
    const auto first = arriving.begin() + static_cast<std::ptrdiff_t>(r * mine);
    received.push_back(std::accumulate(first, first + static_cast<std::ptrdiff_t>(mine), Index{0}));
  }
  return {std::move(sent), std::move(received)};
}

template <class T>
void copy_rows(ConstMatrixView<T> from, MatrixView<T> to) {
  for (Index i = 0; i < from.rows; ++i) std::copy_n(from.data + i * from.ld, from.cols, to.data + i * to.ld);
}

}  // namespace

ExpertTraffic::ExpertTraffic(const comm::Communicator& communicator, const ExpertMap& map,
                             const std::vector<Index>& rows_per_expert)
    : dispatch_({}, {}) {
  const std::vector<std::int64_t> arriving = exchange_counts(communicator, map, rows_per_expert);
  dispatch_ = shape_of(map, rows_per_expert, arriving);
  const auto num_ranks = static_cast<std::size_t>(map.num_ranks());
  const std::size_t mine = arriving.size() / num_ranks;
  rows_per_local_expert_.assign(mine, 0);
  Index ordered = 0;
  for (std::size_t i = 0; i < mine; ++i) {
    for (std::size_t source = 0; source < num_ranks; ++source) {
      const auto of_source = arriving.begin() + static_cast<std::ptrdiff_t>(source * mine);
      const Index rows = of_source[static_cast<std::ptrdiff_t>(i)];
      const Index arrived = dispatch_.receive_offset(RankId{static_cast<Index>(source)}) +
                            std::accumulate(of_source, of_source + static_cast<std::ptrdiff_t>(i), Index{0});
      if (rows > 0) segments_.push_back({arrived, ordered, rows});
      ordered += rows;
      rows_per_local_expert_[i] += rows;
    }
  }
}

template <class T>
void ExpertTraffic::to_expert_order(ConstMatrixView<T> arrived, MatrixView<T> ordered) const {
  parallel_for(static_cast<Index>(segments_.size()), [&](Index i) {
    const Segment& s = segments_[static_cast<std::size_t>(i)];
    copy_rows<T>(arrived.row_block(s.arrived, s.rows), ordered.row_block(s.ordered, s.rows));
  });
}

template <class T>
void ExpertTraffic::to_arrival_order(ConstMatrixView<T> ordered, MatrixView<T> arrived) const {
  parallel_for(static_cast<Index>(segments_.size()), [&](Index i) {
    const Segment& s = segments_[static_cast<std::size_t>(i)];
    copy_rows<T>(ordered.row_block(s.ordered, s.rows), arrived.row_block(s.arrived, s.rows));
  });
}

template void ExpertTraffic::to_expert_order(ConstMatrixView<float>, MatrixView<float>) const;
template void ExpertTraffic::to_expert_order(ConstMatrixView<double>, MatrixView<double>) const;
template void ExpertTraffic::to_arrival_order(ConstMatrixView<float>, MatrixView<float>) const;
template void ExpertTraffic::to_arrival_order(ConstMatrixView<double>, MatrixView<double>) const;

}  // namespace conclave::model
