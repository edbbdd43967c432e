// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/train/replicated_run.hpp"

namespace conclave::train {
namespace {

std::span<float> part(std::span<float> values, Range range) {
  return values.subspan(static_cast<std::size_t>(range.begin), static_cast<std::size_t>(range.size()));
}

}  // namespace

std::vector<Range> cut_into_runs(const ParameterList& list) {
  std::vector<Range> runs;
  Index begin = 0;
  for (const ParameterEntry& entry : list.entries()) {
    const Index end = entry.tensor.range().end;
    if (end - begin < fewest_run_elements && end < list.size()) continue;
    runs.push_back({begin, end});
    begin = end;
  }
  if (runs.empty()) runs.push_back({0, 0});  // a model without such parameters takes part all the same
  return runs;
}

ReplicatedRun::ReplicatedRun(const ReplicatedValues& whole, Range run, Index num_terms,
                             model::GroupGradients<float>& gradients, const model::Ranks& ranks)
    : whole_(whole),
      run_(run),
      gradients_(gradients),
      ranks_(ranks),
      plan_(run.size(), num_terms, ranks.communicator->size()),
      reduce_(plan_, *ranks.communicator, *ranks.exchange),
      gather_(plan_, *ranks.exchange),
      slice_gradient_(1, plan_.slice_of(ranks.communicator->rank()).size()),
      num_missing_(run.size()) {}

Range ReplicatedRun::slice() const {
  const Range of_run = plan_.slice_of(ranks_.communicator->rank());
  return {run_.begin + of_run.begin, run_.begin + of_run.end};
}

std::span<float> ReplicatedRun::slice_values() const { return part(whole_.values, slice()); }

void ReplicatedRun::cover(Range parameters) {
  const Range here = intersection(parameters, run_);
  if (here.empty()) return;
  num_missing_ -= here.size();
  if (num_missing_ == 0) start();
}

bool ReplicatedRun::is_waiting() {
  if (is_under_way_ && !has_arrived_) has_arrived_ = reduce_.test();
  return is_under_way_ && !has_arrived_;
}

void ReplicatedRun::start() {
  reduce_.start(gradients_.partial_sums(run_));
  is_under_way_ = true;
  has_arrived_ = false;
}

void ReplicatedRun::finish(PhaseTimes& times) {
  if (!is_under_way_) start();
  {
    const PhaseScope scope(times, Phase::wait, "gradients");
    reduce_.wait();
  }
  times.add(
      {.of = "gradients", .phase = Phase::reduce, .started_at = reduce_.started_at(), .hidden_s = reduce_.hidden_s()});
  reduce_.finish(slice_gradient_.flat());
  is_under_way_ = false;
  num_missing_ = run_.size();
}

void ReplicatedRun::share_values() { gather_.gather(part(whole_.values, run_)); }

}  // namespace conclave::train
