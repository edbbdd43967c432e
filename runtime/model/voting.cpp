// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/model/voting.hpp"

#include "runtime/core/parallel.hpp"
#include "runtime/core/scratch.hpp"
#include "runtime/core/vector_kernels.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace conclave::model {
namespace {

template <class T>
std::span<T> part(std::vector<T>& values, Range range) {
  return std::span(values).subspan(static_cast<std::size_t>(range.begin), static_cast<std::size_t>(range.size()));
}

constexpr double least_gate = 1e-30;  // of a voter: a gate that has underflowed still has a logarithm

template <class T>
Index largest(std::span<T> values) {
  return std::max_element(values.begin(), values.end()) - values.begin();
}

}  // namespace

template <class T>
void Voting<T>::forward(ParameterView<const T> values, const VoteHead<T>& head, const Step& step,
                        const VoteSamples& samples, ConstMatrixView<T> base, const MoeLayer<T>& experts) {
  const KeptResults<T> results = experts.results();
  call_voters(step, samples, results);
  const auto num_voters = static_cast<Index>(voters_.size());
  for (Matrix<T>* buffer : {&spoken_, &normed_}) buffer->resize(num_voters, base.cols);
  rms_.resize(voters_.size());
  logits_.resize(num_voters, head.head->outputs());
  parallel_for(step.groups.num_groups, [&](Index g) {
    speak(values, head, group_voters_[static_cast<std::size_t>(g)], base, results);
    for (Index s = samples.of(g).begin; s < samples.of(g).end; ++s) {
      const auto at = static_cast<std::size_t>(s);
      count(samples_[at], winners_[at], losses_[static_cast<std::size_t>(g)]);
    }
  });
}

template <class T>
void Voting<T>::call_voters(const Step& step, const VoteSamples& samples, const KeptResults<T>& results) {
  voters_.clear();
  samples_.clear();
  group_voters_.clear();
  samples_in_group_ = samples.in_group;
  for (Index g = 0; g < step.groups.num_groups; ++g) {
    const auto first_of_group = static_cast<Index>(voters_.size());
    for (Index s = samples.of(g).begin; s < samples.of(g).end; ++s) {
      const auto first = static_cast<Index>(voters_.size());
      const Range tokens = samples.rows.of(s);
      for (Index t = tokens.begin; t < tokens.end; ++t) {
        const Range choices = results.plan.choices_of(t);
        if (choices.empty()) voters_.push_back({t, none, 1.0, 0.0});
        for (Index c = choices.begin; c < choices.end; ++c) {
          const double gate = results.gates[static_cast<std::size_t>(c)];
          voters_.push_back({t, c, std::max(gate, least_gate), 0.0});
        }
      }
      samples_.push_back(
          {{first, static_cast<Index>(voters_.size())}, samples.targets[static_cast<std::size_t>(s)], 0.0, 0.0});
    }
    group_voters_.push_back({first_of_group, static_cast<Index>(voters_.size())});
  }
  losses_.assign(group_voters_.size(), {});
  winners_.assign(samples_.size(), 0);
}

// logits = head(norm(base_t + f_j)) of a group's voters
template <class T>
void Voting<T>::speak(ParameterView<const T> values, const VoteHead<T>& head, Range voters, ConstMatrixView<T> base,
                      const KeptResults<T>& results) {
  for (Index v = voters.begin; v < voters.end; ++v) {
    const Voter& voter = voters_[static_cast<std::size_t>(v)];
    std::ranges::copy(base.row(voter.token), spoken_.row(v).begin());
    if (voter.choice == none) continue;
    axpy<T>(T{1}, results.rows.row(results.plan.row_of_choice(voter.choice)), spoken_.row(v));
  }
  const ConstMatrixView<T> spoken = std::as_const(spoken_).view().row_block(voters);
  if (head.norm != nullptr) head.norm->forward(values, spoken, part(rms_, voters), normed_.view().row_block(voters));
  head.head->forward(values, head.norm == nullptr ? spoken : normed_.view().row_block(voters),
                     logits_.view().row_block(voters));
}

// Leaves the voters' probabilities in the place of their logits. The mixture is taken in logarithms, so that a label
// that every voter finds all but impossible still has a loss and a gradient.
template <class T>
void Voting<T>::count(Sample& sample, std::int32_t& winner, LossSums& losses) {
  Scratch scratch;
  const std::span<double> votes = scratch.values<double>(logits_.cols(), 0.0);
  double most = -std::numeric_limits<double>::infinity();
  for (Index v = sample.voters.begin; v < sample.voters.end; ++v) {
    Voter& voter = voters_[static_cast<std::size_t>(v)];
    const MatrixView<T> row = logits_.view().row_block(v, 1);
    votes[static_cast<std::size_t>(largest(row.row(0)))] += voter.gate;
    const double at_target = row(0, sample.target);
    T log_sum{};
    softmax_rows<T>(row, row, {&log_sum, 1});
    voter.log_at_target = at_target - static_cast<double>(log_sum);
    sample.gates += voter.gate;
    most = std::max(most, std::log(voter.gate) + voter.log_at_target);
  }
  double sum = 0.0;
  for (Index v = sample.voters.begin; v < sample.voters.end; ++v) {
    const Voter& voter = voters_[static_cast<std::size_t>(v)];
    sum += std::exp(std::log(voter.gate) + voter.log_at_target - most);
  }
  sample.log_mixture = most + std::log(sum);
  winner = static_cast<std::int32_t>(largest(votes));
  losses.nats += std::log(sample.gates) - sample.log_mixture;
  losses.correct += winner == sample.target ? 1 : 0;
}

template <class T>
void Voting<T>::backward(ParameterView<const T> values, const VoteHead<T>& head, const Step& step, double scale,
                         MoeLayer<T>& experts, MatrixView<T> d, GroupGradients<T>& gradients) {
  const ResultGradients<T> d_results = experts.vote_gradients();
  for (Matrix<T>* buffer : {&d_spoken_, &d_normed_}) buffer->resize(spoken_.rows(), spoken_.cols());
  const auto voters_of = [&](Index g) { return group_voters_[static_cast<std::size_t>(g)]; };
  parallel_for(step.groups.num_groups, [&](Index g) {
    // Tokens and choices that no sample counts have no voter.
    const Range rows = step.groups.of(g);
    for (Index t = rows.begin; t < rows.end; ++t) {
      const Range choices = experts.results().plan.choices_of(t);
      for (Index c = choices.begin; c < choices.end; ++c) {
        std::ranges::fill(d_results.rows.row(experts.results().plan.row_of_choice(c)), T{0});
        d_results.gates[static_cast<std::size_t>(c)] = T{0};
      }
    }
    for (Index s = g * samples_in_group_; s < (g + 1) * samples_in_group_; ++s) {
      gradient_of_logits(samples_[static_cast<std::size_t>(s)], scale, d_results.gates);
    }
  });
  // logits = head(norm(spoken))
  Matrix<T>& d_head_in = head.norm == nullptr ? d_spoken_ : d_normed_;
  gradients.add(head.head->parameters(), [&](Index g, ParameterView<T> leaf) {
    const Matrix<T>& in = head.norm == nullptr ? spoken_ : normed_;
    head.head->backward(values, in.view().row_block(voters_of(g)), logits_.view().row_block(voters_of(g)), T{0},
                        d_head_in.view().row_block(voters_of(g)), leaf);
  });
  if (head.norm != nullptr) {
    gradients.add(head.norm->parameters(), [&](Index g, ParameterView<T> leaf) {
      const Range voters = voters_of(g);
      std::ranges::fill(d_spoken_.view().row_block(voters).flat(), T{0});
      head.norm->backward(values, spoken_.view().row_block(voters), part(rms_, voters),
                          d_normed_.view().row_block(voters), d_spoken_.view().row_block(voters), leaf);
    });
  }
  parallel_for(step.groups.num_groups, [&](Index g) {
    std::ranges::fill(d.row_block(step.groups.of(g)).flat(), T{0});
    hand_back(voters_of(g), experts, d_results, d);
  });
}

// loss = log sum_v g_v - log sum_v g_v p_v(label). With r_v = g_v p_v(label) / sum_v g_v p_v(label):
//   dlogits_v(c) = r_v (p_v(c) - [c = label]),   dg_v = 1 / sum_v g_v - p_v(label) / sum_v g_v p_v(label)
template <class T>
void Voting<T>::gradient_of_logits(const Sample& sample, double scale, std::span<T> d_gates) {
  for (Index v = sample.voters.begin; v < sample.voters.end; ++v) {
    const Voter& voter = voters_[static_cast<std::size_t>(v)];
    const double relative = std::exp(voter.log_at_target - sample.log_mixture);
    const std::span<T> row = logits_.row(v);
    row[static_cast<std::size_t>(sample.target)] -= T{1};
    for (T& value : row) value *= static_cast<T>(scale * voter.gate * relative);
    if (voter.choice == none) continue;
    d_gates[static_cast<std::size_t>(voter.choice)] = static_cast<T>(scale * (1.0 / sample.gates - relative));
  }
}

// spoken_v = base_t + f_j
template <class T>
void Voting<T>::hand_back(Range voters, const MoeLayer<T>& experts, const ResultGradients<T>& d_results,
                          MatrixView<T> d) const {
  for (Index v = voters.begin; v < voters.end; ++v) {
    const Voter& voter = voters_[static_cast<std::size_t>(v)];
    axpy<T>(T{1}, d_spoken_.row(v), d.row(voter.token));
    if (voter.choice == none) continue;
    std::ranges::copy(d_spoken_.row(v), d_results.rows.row(experts.results().plan.row_of_choice(voter.choice)).begin());
  }
}

template class Voting<float>;
template class Voting<double>;

}  // namespace conclave::model
