// SPDX-License-Identifier: BSD-3-Clause
#include "gating/expert_choice_router.hpp"

#include "gating/scores.hpp"
#include "runtime/core/scratch.hpp"

#include <numeric>

namespace conclave::gating {
namespace {

template <class T>
struct ExpertChoiceTape final : RouterTape<T> {
  Scores<T> scores;
  Matrix<char> taken;  // [S, E] 1 where the expert takes the token
};

/// The `count` tokens with the largest score, of equals the lower: marks them in column `expert` of `taken`.
template <class T>
void take_best(ConstMatrixView<T> score, Index expert, Index count, MatrixView<char> taken) {
  Scratch scratch;
  const std::span<T> column = scratch.values<T>(score.rows);
  for (Index t = 0; t < score.rows; ++t) column[static_cast<std::size_t>(t)] = score(t, expert);
  const std::span<Index> tokens = scratch.values<Index>(score.rows);
  std::iota(tokens.begin(), tokens.end(), Index{0});
  if (count < score.rows) {
    std::nth_element(tokens.begin(), tokens.begin() + count, tokens.end(), [&](Index a, Index b) {
      const T p_a = column[static_cast<std::size_t>(a)];
      const T p_b = column[static_cast<std::size_t>(b)];
      return p_a != p_b ? p_a > p_b : a < b;
    });
  }
  for (Index i = 0; i < count; ++i) taken(tokens[static_cast<std::size_t>(i)], expert) = 1;
}

template <class T>
class ExpertChoiceRouter final : public Router<T> {
 public:
  ExpertChoiceRouter(const RouterOptions& options, Index seed, Index width, ParameterList& parameters,
                     const std::string& prefix)
      : Router<T>(options, seed), score_(options, seed, width, parameters, prefix) {}

  [[nodiscard]] std::unique_ptr<RouterTape<T>> make_tape() const override {
    return std::make_unique<ExpertChoiceTape<T>>();
  }

  // Tokens ask for nothing: the experts take.
  void choose(ParameterView<const T> parameters, const RouterInput<T>& input, RouterTape<T>& base) const override {
    auto& tape = static_cast<ExpertChoiceTape<T>&>(base);
    tape.not_finite = score_.forward(parameters, input, tape.scores);
    const Index capacity = this->capacity_rule(input.training, input.x.rows).capacity;
    tape.taken.resize(input.x.rows, this->options().experts);
    tape.taken.fill(0);
    for (Index e = 0; e < this->options().experts; ++e) {
      take_best<T>(tape.scores.probability.view(), e, capacity, tape.taken.view());
    }
    tape.choices.resize(input.x.rows, 0);
  }

  void settle(const RouterInput<T>& input, RouterTape<T>& base) const override {
    auto& tape = static_cast<ExpertChoiceTape<T>&>(base);
    const Index num_experts = this->options().experts;
    const auto decide = [&](std::vector<Assignment<T>>& kept, RoutingCounts& counts) {
      for (Index t = 0; t < input.x.rows; ++t) {
        Index choice = 0;
        for (Index e = 0; e < num_experts; ++e) {
          if (tape.taken(t, e) == 0) continue;
          kept.push_back({t, ExpertId{e}, choice++, tape.scores.probability(t, e)});
          ++counts.load[static_cast<std::size_t>(e)];
        }
        if (choice == 0) counts.drops.push_back({t, 0, ExpertId{no_expert}, DropReason::unchosen});
      }
    };
    tape.routing.assign(input.x.rows, num_experts, decide);
    tape.balance.clear(num_experts);  // even by construction: no counted claims, so the balance loss is 0
    score_.sum_up(tape.scores, tape.balance);
  }

  // g = p: dp_{t,e} = dg
  void backward(ParameterView<const T> parameters, const RouterInput<T>& input, const RouterTape<T>& base,
                std::span<const T> d_gates, const LossCotangent& losses, MatrixView<T> dx,
                ParameterView<T> gradient) const override {
    const auto& tape = static_cast<const ExpertChoiceTape<T>&>(base);
    const std::vector<Assignment<T>>& kept = tape.routing.kept();
    invariant(d_gates.size() == kept.size(), "{} gradients for {} kept choices", d_gates.size(), kept.size());
    Scratch scratch;
    typename ScoreFunction<T>::Cotangent cotangent;
    cotangent.dp = scratch.matrix<T>(input.x.rows, this->options().experts, T{0});
    for (std::size_t i = 0; i < kept.size(); ++i) cotangent.dp(kept[i].token, kept[i].expert.value()) = d_gates[i];
    cotangent.d_z = losses.z_of_a_token(input.x.rows);
    score_.backward(parameters, input, tape.scores, cotangent, dx, gradient);
  }

 private:
  ScoreFunction<T> score_;
};

}  // namespace

template <class T>
std::unique_ptr<Router<T>> make_expert_choice_router(const RouterOptions& options, Index seed, Index width,
                                                     ParameterList& parameters, const std::string& prefix) {
  return std::make_unique<ExpertChoiceRouter<T>>(options, seed, width, parameters, prefix);
}

template std::unique_ptr<Router<float>> make_expert_choice_router(const RouterOptions&, Index, Index, ParameterList&,
                                                                  const std::string&);
template std::unique_ptr<Router<double>> make_expert_choice_router(const RouterOptions&, Index, Index, ParameterList&,
                                                                   const std::string&);

}  // namespace conclave::gating
