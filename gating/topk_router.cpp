// SPDX-License-Identifier: BSD-3-Clause
#include "gating/topk_router.hpp"

#include "gating/capacity.hpp"
#include "gating/gates.hpp"
#include "gating/scores.hpp"
#include "gating/selection.hpp"

#include <cmath>

namespace conclave::gating {
namespace {

template <class T>
struct TopkTape final : RouterTape<T> {
  Scores<T> scores;
  Matrix<T> biased;                // [S, E] p + selection bias; empty without one
  Matrix<std::int32_t> choices;    // [S, k] experts chosen, best first
  Matrix<T> chosen_score;          // [S, k] p of the chosen
  Matrix<char> refused;            // [S, k] second choices turned down; empty unless the policy is random
  Matrix<std::int32_t> serving;    // [S, k] expert that serves the choice, or not_served
  Matrix<T> raw;                   // [S, k] raw gates: p of the serving expert, of the chosen one where none serves
  Matrix<char> kept;               // [S, k]
  std::vector<double> importance;  // [E] I_e
};

template <class T>
class TopkRouter final : public Router<T> {
 public:
  TopkRouter(const RouterOptions& options, Index seed, Index width, ParameterList& parameters,
             const std::string& prefix)
      : options_(options), seed_(seed), score_(options, seed, width, parameters, prefix) {}

  [[nodiscard]] std::unique_ptr<RouterTape<T>> make_tape() const override { return std::make_unique<TopkTape<T>>(); }

  void route(ParameterView<const T> parameters, const RouterInput<T>& input, RouterTape<T>& base) const override {
    auto& tape = static_cast<TopkTape<T>&>(base);
    score_.forward(parameters, input, tape.scores);
    const ConstMatrixView<T> q = selection_score(input, tape);
    tape.choices.resize(input.x.rows, options_.top_k);
    select_top_k<T>(q, {options_.blocks, options_.blocks_kept}, tape.choices.view());
    gather_chosen_scores(tape);
    refuse_seconds(input, tape);
    const double factor = input.training ? options_.capacity_factor : options_.eval_capacity_factor;
    const Index capacity = expert_capacity(factor, static_cast<double>(options_.top_k), input.x.rows, options_.experts,
                                           options_.min_capacity);
    tape.serving.resize(input.x.rows, options_.top_k);
    serve_claims<T>({tape.choices.view(), tape.chosen_score.view(), q, tape.refused.view()},
                    {capacity, options_.priority, options_.overflow}, tape.serving.view());
    tape.routing = form_routing(tape);
    tape.balance = balance_terms(tape);
  }

  void backward(ParameterView<const T> parameters, const RouterInput<T>& input, const RouterTape<T>& base,
                std::span<const T> d_gates, const LossCotangent& losses, MatrixView<T> dx,
                ParameterView<T> gradient) const override {
    const auto& tape = static_cast<const TopkTape<T>&>(base);
    invariant(d_gates.size() == tape.routing.kept().size(), "{} gradients for {} kept choices", d_gates.size(),
              tape.routing.kept().size());
    typename ScoreFunction<T>::Cotangent cotangent;
    cotangent.dp = Matrix<T>(input.x.rows, options_.experts);
    gates_backward(tape, d_gates, cotangent.dp.view());
    const auto groups = static_cast<double>(losses.num_groups);
    if (losses.importance != 0.0) importance_backward(tape, losses.importance / groups, cotangent.dp.view());
    if (losses.balance != 0.0) {
      // The mean over groups of E sum_e (n_e/N) mean_t pi: over the step, the step's share n_e/N takes the group's
      // place.
      const std::span<const Index> counts = losses.step_counts.empty() ? tape.balance.counted : losses.step_counts;
      cotangent.d_balance = balance_loss_gradient(counts, input.x.rows, losses.balance / groups);
    }
    cotangent.d_z = losses.z / (groups * static_cast<double>(std::max<Index>(input.x.rows, 1)));
    score_.backward(parameters, input, tape.scores, cotangent, dx, gradient);
  }

 private:
  // q = p + bias
  ConstMatrixView<T> selection_score(const RouterInput<T>& input, TopkTape<T>& tape) const {
    if (input.selection_bias.empty()) return tape.scores.probability.view();
    tape.biased.resize(input.x.rows, options_.experts);
    for (Index t = 0; t < input.x.rows; ++t) {
      for (Index e = 0; e < options_.experts; ++e) {
        tape.biased(t, e) = tape.scores.probability(t, e) + input.selection_bias[static_cast<std::size_t>(e)];
      }
    }
    return tape.biased.view();
  }

  void gather_chosen_scores(TopkTape<T>& tape) const {
    tape.chosen_score.resize(tape.choices.rows(), options_.top_k);
    for (Index t = 0; t < tape.choices.rows(); ++t) {
      for (Index j = 0; j < options_.top_k; ++j) {
        // NOLINTNEXTLINE(clang-analyzer-core.CallAndMessage): select_top_k has written all choices
        tape.chosen_score(t, j) = tape.scores.probability(t, tape.choices(t, j));
      }
    }
  }

  // GShard's random second expert: choice 1 asks for a slot only if 2 g > u, g its share of the two raw gates. In
  // training only.
  void refuse_seconds(const RouterInput<T>& input, TopkTape<T>& tape) const {
    tape.refused.resize(0, 0);
    if (!input.training || options_.second_policy != SecondPolicy::random || options_.top_k != 2) return;
    const Random random(seed_, RandomStream::second, input.layer, input.step);
    tape.refused.resize(input.x.rows, 2);
    tape.refused.fill(0);
    for (Index t = 0; t < input.x.rows; ++t) {
      const auto first = static_cast<double>(tape.chosen_score(t, 0));
      const auto second = static_cast<double>(tape.chosen_score(t, 1));
      const double share = second / std::max(first + second, 1e-9);
      const double u = random.uniform(input.first_token.value() + t, 0);
      tape.refused(t, 1) = 2.0 * share > u ? 0 : 1;
    }
  }

  Routing<T> form_routing(TopkTape<T>& tape) const {
    const Index num_tokens = tape.choices.rows();
    tape.raw.resize(num_tokens, options_.top_k);
    tape.kept.resize(num_tokens, options_.top_k);
    std::vector<Assignment<T>> kept;
    kept.reserve(static_cast<std::size_t>(num_tokens * options_.top_k));
    RoutingCounts counts;
    counts.load = count_claims(tape.choices.view(), BalanceCount::all, options_.experts);
    std::vector<T> gate(static_cast<std::size_t>(options_.top_k));
    for (Index t = 0; t < num_tokens; ++t) {
      for (Index j = 0; j < options_.top_k; ++j) {
        const std::int32_t expert = tape.serving(t, j);
        tape.kept(t, j) = expert == not_served ? 0 : 1;
        tape.raw(t, j) = expert == not_served ? tape.chosen_score(t, j) : tape.scores.probability(t, expert);
        if (expert != not_served) continue;
        ++(tape.refused.rows() > 0 && tape.refused(t, j) != 0 ? counts.refused_second : counts.over_capacity);
      }
      normalise_gates<T>(gate_rule(), tape.raw.row(t), tape.kept.row(t), gate);
      for (Index j = 0; j < options_.top_k; ++j) {
        if (tape.kept(t, j) != 0)
          kept.push_back({t, ExpertId{tape.serving(t, j)}, j, gate[static_cast<std::size_t>(j)]});
      }
    }
    return Routing<T>(num_tokens, options_.experts, std::move(kept), std::move(counts));
  }

  void gates_backward(const TopkTape<T>& tape, std::span<const T> d_gates, MatrixView<T> dp) const {
    std::vector<T> d_gate(static_cast<std::size_t>(options_.top_k));
    std::vector<T> d_raw(static_cast<std::size_t>(options_.top_k));
    std::size_t next = 0;
    for (Index t = 0; t < tape.choices.rows(); ++t) {
      for (Index j = 0; j < options_.top_k; ++j) {
        d_gate[static_cast<std::size_t>(j)] = tape.kept(t, j) != 0 ? d_gates[next++] : T{0};
      }
      std::fill(d_raw.begin(), d_raw.end(), T{0});
      normalise_gates_backward<T>(gate_rule(), tape.raw.row(t), tape.kept.row(t), d_gate, d_raw);
      for (Index j = 0; j < options_.top_k; ++j) {
        const std::int32_t expert = tape.kept(t, j) != 0 ? tape.serving(t, j) : tape.choices(t, j);
        dp(t, expert) += d_raw[static_cast<std::size_t>(j)];
      }
    }
  }

  [[nodiscard]] BalanceTerms balance_terms(TopkTape<T>& tape) const {
    BalanceTerms terms;
    terms.counted = count_claims(tape.choices.view(), options_.balance_count, options_.experts);
    terms.probability.assign(static_cast<std::size_t>(options_.experts), 0.0);
    tape.importance.assign(static_cast<std::size_t>(options_.experts), 0.0);
    std::vector<T> gate(static_cast<std::size_t>(options_.top_k));
    const std::vector<char> all(static_cast<std::size_t>(options_.top_k), 1);
    for (Index t = 0; t < tape.choices.rows(); ++t) {
      const auto row = static_cast<std::size_t>(t);
      const auto lse = static_cast<double>(tape.scores.log_sum_exp[row]);
      terms.z_sum += lse * lse;
      const T total = tape.scores.total[row];
      T entropy{0};
      for (Index e = 0; e < options_.experts; ++e) {
        const T pi = tape.scores.probability(t, e) / total;
        terms.probability[static_cast<std::size_t>(e)] += static_cast<double>(pi);
        if (pi > T{0}) entropy -= pi * std::log(pi);
      }
      terms.entropy_sum += static_cast<double>(entropy);
      normalise_gates<T>({Normalise::selected, 1.0}, tape.chosen_score.row(t), all, gate);
      for (Index j = 0; j < options_.top_k; ++j) {
        tape.importance[static_cast<std::size_t>(tape.choices(t, j))] +=
            static_cast<double>(gate[static_cast<std::size_t>(j)]);
      }
    }
    terms.importance = importance_loss(tape.importance);
    return terms;
  }

  void importance_backward(const TopkTape<T>& tape, double coefficient, MatrixView<T> dp) const {
    const std::vector<double> d_importance = importance_loss_gradient(tape.importance, coefficient);
    const std::vector<char> all(static_cast<std::size_t>(options_.top_k), 1);
    std::vector<T> d_gate(static_cast<std::size_t>(options_.top_k));
    std::vector<T> d_raw(static_cast<std::size_t>(options_.top_k));
    for (Index t = 0; t < tape.choices.rows(); ++t) {
      for (Index j = 0; j < options_.top_k; ++j) {
        d_gate[static_cast<std::size_t>(j)] =
            static_cast<T>(d_importance[static_cast<std::size_t>(tape.choices(t, j))]);
      }
      std::fill(d_raw.begin(), d_raw.end(), T{0});
      normalise_gates_backward<T>({Normalise::selected, 1.0}, tape.chosen_score.row(t), all, d_gate, d_raw);
      for (Index j = 0; j < options_.top_k; ++j) dp(t, tape.choices(t, j)) += d_raw[static_cast<std::size_t>(j)];
    }
  }

  [[nodiscard]] GateRule gate_rule() const { return {options_.normalise, options_.gate_scale}; }

  RouterOptions options_;
  Index seed_;
  ScoreFunction<T> score_;
};

}  // namespace

template <class T>
std::unique_ptr<Router<T>> make_topk_router(const RouterOptions& options, Index seed, Index width,
                                            ParameterList& parameters, const std::string& prefix) {
  return std::make_unique<TopkRouter<T>>(options, seed, width, parameters, prefix);
}

template std::unique_ptr<Router<float>> make_topk_router(const RouterOptions&, Index, Index, ParameterList&,
                                                         const std::string&);
template std::unique_ptr<Router<double>> make_topk_router(const RouterOptions&, Index, Index, ParameterList&,
                                                          const std::string&);

}  // namespace conclave::gating
