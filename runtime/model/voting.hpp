// SPDX-License-Identifier: BSD-3-Clause
// Classes by the vote of a token's experts. Every kept choice j of a token t speaks for itself, with the token's base b
// (what the block gives without its experts) and the expert's result f:
//   p_tj = softmax(head(norm(b_t + f_j(x_t))))      it votes for the largest; ties: the lower class
// A token that nobody serves has one voter, its base alone, with weight 1. The class with the largest sum of gates over
// the voters of the sample's tokens wins; ties: the lower class. A vote has no gradient, so training takes the voters
// for what they are, the components of a mixture (Jacobs, Jordan, Nowlan and Hinton 1991, eq. 1.3 with classes for
// outcomes):
//   P(c) = sum_tj g_tj p_tj(c) / sum_tj g_tj,   loss = -log P(label)
#pragma once

#include "runtime/model/loss.hpp"
#include "runtime/model/moe_layer.hpp"

namespace conclave::model {

/// The tokens of a rank's samples: `tokens` rows each, of which the first lengths[i] count; all, where lengths is
/// empty.
struct SampleRows {
  Index tokens = 1;
  std::span<const std::int32_t> lengths{};
  /// The rows of local sample i that count.
  [[nodiscard]] Range of(Index i) const {
    return {i * tokens, i * tokens + (lengths.empty() ? tokens : lengths[static_cast<std::size_t>(i)])};
  }
};

/// The layers that a voter's vector passes.
template <class T>
struct VoteHead {
  const RmsNorm<T>* norm = nullptr;  // null: none
  const Linear<T>* head = nullptr;
};

/// The rank's samples: where their tokens stand, their classes, and what of them is a group's.
struct VoteSamples {
  SampleRows rows;
  std::span<const std::int32_t> targets;  // [local samples]
  Index in_group = 1;
  [[nodiscard]] Range of(Index group) const { return {group * in_group, (group + 1) * in_group}; }
};

/// The votes of one pass. Matrix products are over a group's voters, whose number its routing decides.
template <class T>
class Voting {
 public:
  /// Counts the votes: each group's losses, and each sample's winner into `winners`. base: [local tokens, width].
  void forward(ParameterView<const T> values, const VoteHead<T>& head, const Step& step, const VoteSamples& samples,
               ConstMatrixView<T> base, const MoeLayer<T>& experts);
  [[nodiscard]] const std::vector<LossSums>& losses() const { return losses_; }
  [[nodiscard]] const std::vector<std::int32_t>& winners() const { return winners_; }

  /// The adjoint of scale * (sum of the losses): d = the gradient of base, and the results' and gates' into `experts`.
  void backward(ParameterView<const T> values, const VoteHead<T>& head, const Step& step, double scale,
                MoeLayer<T>& experts, MatrixView<T> d, GroupGradients<T>& gradients);

 private:
  struct Voter {
    Index token = 0;
    Index choice = none;  // among the layer's kept ones
    double gate = 1.0;
    double log_at_target = 0.0;  // log p(label)
  };
  struct Sample {
    Range voters;
    std::int32_t target = 0;
    double gates = 0.0;        // their sum
    double log_mixture = 0.0;  // log sum_v g_v p_v(label)
  };
  static constexpr Index none = -1;

  void call_voters(const Step& step, const VoteSamples& samples, const KeptResults<T>& results);
  void speak(ParameterView<const T> values, const VoteHead<T>& head, Range voters, ConstMatrixView<T> base,
             const KeptResults<T>& results);
  void count(Sample& sample, std::int32_t& winner, LossSums& losses);
  void gradient_of_logits(const Sample& sample, double scale, std::span<T> d_gates);
  void hand_back(Range voters, const MoeLayer<T>& experts, const ResultGradients<T>& d_results, MatrixView<T> d) const;

  std::vector<Voter> voters_;        // by sample, token, choice
  std::vector<Sample> samples_;      // [local samples]
  std::vector<Range> group_voters_;  // [local groups]
  Index samples_in_group_ = 1;
  Matrix<T> spoken_, normed_;          // [voters, width] what the norm gets, and gives
  Matrix<T> d_spoken_, d_normed_;      // [voters, width]
  std::vector<T> rms_;                 // [voters]
  Matrix<T> logits_;                   // [voters, classes] then probabilities, then the logits' gradient
  std::vector<LossSums> losses_;       // [local groups]
  std::vector<std::int32_t> winners_;  // [local samples]
};

}  // namespace conclave::model
