// SPDX-License-Identifier: BSD-3-Clause
#include "gating/topk_router.hpp"

#include "gating/gates.hpp"
#include "gating/scores.hpp"
#include "gating/second_policy.hpp"
#include "gating/selection.hpp"
#include "gating/sinkhorn.hpp"
#include "runtime/core/scratch.hpp"

namespace conclave::gating {
namespace {

template <class T>
struct TopkTape final : RouterTape<T> {
  Scores<T> scores;
  Matrix<T> selection;             // [S, E] q, where it is not the score itself
  Matrix<T> chosen_score;          // [S, k] p of the chosen
  Matrix<char> refused_late;       // [S, k] second choices turned down after they were served; or no rows
  Matrix<T> raw;                   // [S, k] raw gates: p of the serving expert, of the chosen one where none serves
  Matrix<char> kept;               // [S, k]
  std::vector<double> importance;  // [E] I_e
};

template <class T>
class TopkRouter final : public Router<T> {
 public:
  TopkRouter(const RouterOptions& given, Index seed, Index width, ParameterList& parameters, const std::string& prefix)
      : Router<T>(given, seed), score_(given, seed, width, parameters, prefix) {}

  [[nodiscard]] std::unique_ptr<RouterTape<T>> make_tape() const override { return std::make_unique<TopkTape<T>>(); }

  void choose(ParameterView<const T> parameters, const RouterInput<T>& input, RouterTape<T>& base) const override {
    auto& tape = static_cast<TopkTape<T>&>(base);
    tape.not_finite = score_.forward(parameters, input, tape.scores);
    const ConstMatrixView<T> q = selection_score(input, tape);
    tape.choices.resize(input.x.rows, options().top_k);
    select_top_k<T>(q, {options().blocks, options().blocks_kept}, tape.choices.view());
    if (samples_second(input)) {
      sample_second<T>(tape.scores.logits.view(), this->random(RandomStream::gumbel, input), input.first_token,
                       tape.choices.view());
    }
    gather_chosen_scores(tape);
    refuse_seconds(input, tape);
    set_keys(input, tape);
    tape.reroute_by = options().overflow == Overflow::reroute ? q : ConstMatrixView<T>{};
  }

  void settle(const RouterInput<T>&, RouterTape<T>& base) const override {
    auto& tape = static_cast<TopkTape<T>&>(base);
    if (tape.refused_late.rows() > 0) {
      for (Index t = 0; t < tape.serving.rows(); ++t) {
        if (tape.refused_late(t, 1) != 0) tape.serving(t, 1) = no_expert;
      }
    }
    tape.routing.assign(
        tape.choices.rows(), options().experts,
        [&](std::vector<Assignment<T>>& kept, RoutingCounts& counts) { form_routing(tape, kept, counts); });
    tape.balance.clear(options().experts);
    count_claims(tape.choices.view(), options().balance_count, tape.balance.counted);
    score_.sum_up(tape.scores, tape.balance);
    measure_importance(tape);
  }

  void backward(ParameterView<const T> parameters, const RouterInput<T>& input, const RouterTape<T>& base,
                std::span<const T> d_gates, const LossCotangent& losses, MatrixView<T> dx,
                ParameterView<T> gradient) const override {
    const auto& tape = static_cast<const TopkTape<T>&>(base);
    invariant(d_gates.size() == tape.routing.kept().size(), "{} gradients for {} kept choices", d_gates.size(),
              tape.routing.kept().size());
    Scratch scratch;
    typename ScoreFunction<T>::Cotangent cotangent;
    cotangent.dp = scratch.matrix<T>(input.x.rows, options().experts, T{0});
    gates_backward(tape, d_gates, cotangent.dp);
    const auto groups = static_cast<double>(losses.num_groups);
    if (losses.importance != 0.0) importance_backward(tape, losses.importance / groups, cotangent.dp);
    if (losses.balance != 0.0) {
      // The mean over groups of E sum_e (n_e/N) mean_t pi: over the step, the step's share n_e/N takes the group's
      // place.
      const std::span<const Index> counts = losses.step_counts.empty() ? tape.balance.counted : losses.step_counts;
      const std::span<double> d_balance = scratch.values<double>(options().experts);
      balance_loss_gradient(counts, input.x.rows, losses.balance / groups, d_balance);
      cotangent.d_balance = d_balance;
    }
    cotangent.d_z = losses.z_of_a_token(input.x.rows);
    score_.backward(parameters, input, tape.scores, cotangent, dx, gradient);
  }

 private:
  using Router<T>::options;

  // q = p + bias; under sinkhorn, in training, the balanced assignment of the logits, and plain logits in evaluation
  // (as Megatron-Core does: there is no group to balance when one token is generated).
  ConstMatrixView<T> selection_score(const RouterInput<T>& input, TopkTape<T>& tape) const {
    const Matrix<T>& p = tape.scores.probability;
    if (options().selection == Selection::sinkhorn) {
      if (!input.training) return tape.scores.logits.view();
      tape.selection.resize(input.x.rows, options().experts);
      sinkhorn<T>(tape.scores.logits.view(), options().sinkhorn_iterations, tape.selection.view());
      return tape.selection.view();
    }
    if (input.selection_bias.empty()) return p.view();
    tape.selection.resize(input.x.rows, options().experts);
    for (Index t = 0; t < input.x.rows; ++t) {
      for (Index e = 0; e < options().experts; ++e) {
        tape.selection(t, e) = p(t, e) + input.selection_bias[static_cast<std::size_t>(e)];
      }
    }
    return tape.selection.view();
  }

  void gather_chosen_scores(TopkTape<T>& tape) const {
    tape.chosen_score.resize(tape.choices.rows(), options().top_k);
    for (Index t = 0; t < tape.choices.rows(); ++t) {
      for (Index j = 0; j < options().top_k; ++j) {
        // NOLINTNEXTLINE(clang-analyzer-core.CallAndMessage): select_top_k has written all choices
        tape.chosen_score(t, j) = tape.scores.probability(t, tape.choices(t, j));
      }
    }
  }

  // The random policies act in training only.
  [[nodiscard]] bool samples_second(const RouterInput<T>& input) const {
    return input.training && options().top_k == 2 && options().second_policy == SecondPolicy::sampled;
  }

  void refuse_seconds(const RouterInput<T>& input, TopkTape<T>& tape) const {
    tape.refused.resize(0, 0);
    tape.refused_late.resize(0, 0);
    const bool is_late = options().second_policy == SecondPolicy::random_late;
    if (!input.training || options().top_k != 2) return;
    if (!is_late && options().second_policy != SecondPolicy::random) return;
    Matrix<char>& refused = is_late ? tape.refused_late : tape.refused;
    refused.resize(input.x.rows, 2);
    refuse_weak_seconds<T>(tape.chosen_score.view(), this->random(RandomStream::second, input), input.first_token,
                           refused.view(), options().second_threshold);
  }

  // What the order of serving looks at; nothing for the order of position.
  void set_keys(const RouterInput<T>& input, TopkTape<T>& tape) const {
    const Priority priority = this->capacity_rule(input.training, 0).priority;
    tape.key.resize(0, 0);
    if (priority == Priority::position) return;
    tape.key.resize(input.x.rows, options().top_k);
    const Random random = this->random(RandomStream::priority, input);
    for (Index t = 0; t < input.x.rows; ++t) {
      const auto scores = tape.chosen_score.row(t);
      const T best = *std::max_element(scores.begin(), scores.end());
      for (Index j = 0; j < options().top_k; ++j) {
        switch (priority) {
          case Priority::probability:
            tape.key(t, j) = scores[static_cast<std::size_t>(j)];
            break;
          case Priority::best_token:
            tape.key(t, j) = best;
            break;
          default:
            tape.key(t, j) = static_cast<T>(random.uniform(input.first_token.value() + t, j));
        }
      }
    }
  }

  void form_routing(TopkTape<T>& tape, std::vector<Assignment<T>>& kept, RoutingCounts& counts) const {
    const Index num_tokens = tape.choices.rows();
    const Index top_k = options().top_k;
    tape.raw.resize(num_tokens, top_k);
    tape.kept.resize(num_tokens, top_k);
    kept.reserve(static_cast<std::size_t>(num_tokens * top_k));
    count_claims(tape.choices.view(), BalanceCount::all, counts.load);
    Scratch scratch;
    const std::span<T> gate = scratch.values<T>(top_k);
    for (Index t = 0; t < num_tokens; ++t) {
      for (Index j = 0; j < top_k; ++j) {
        const std::int32_t expert = tape.serving(t, j);
        const std::int32_t asked = tape.choices(t, j);
        tape.kept(t, j) = expert == no_expert ? 0 : 1;
        tape.raw(t, j) = expert == no_expert ? tape.chosen_score(t, j) : tape.scores.probability(t, expert);
        if (expert == no_expert) counts.drops.push_back({t, j, ExpertId{asked}, reason(tape, t, j)});
        if (expert != no_expert && expert != asked) ++counts.rerouted;
      }
      normalise_gates<T>(gate_rule(), tape.raw.row(t), tape.kept.row(t), gate);
      for (Index j = 0; j < top_k; ++j) {
        if (tape.kept(t, j) != 0)
          kept.push_back({t, ExpertId{tape.serving(t, j)}, j, gate[static_cast<std::size_t>(j)]});
      }
    }
  }

  [[nodiscard]] static DropReason reason(const TopkTape<T>& tape, Index token, Index choice) {
    for (const Matrix<char>* refused : {&tape.refused, &tape.refused_late}) {
      if (refused->rows() > 0 && (*refused)(token, choice) != 0) return DropReason::refused_second;
    }
    return DropReason::over_capacity;
  }

  void gates_backward(const TopkTape<T>& tape, std::span<const T> d_gates, MatrixView<T> dp) const {
    Scratch scratch;
    const std::span<T> d_gate = scratch.values<T>(options().top_k);
    const std::span<T> d_raw = scratch.values<T>(options().top_k);
    std::size_t next = 0;
    for (Index t = 0; t < tape.choices.rows(); ++t) {
      for (Index j = 0; j < options().top_k; ++j) {
        d_gate[static_cast<std::size_t>(j)] = tape.kept(t, j) != 0 ? d_gates[next++] : T{0};
      }
      std::fill(d_raw.begin(), d_raw.end(), T{0});
      normalise_gates_backward<T>(gate_rule(), tape.raw.row(t), tape.kept.row(t), d_gate, d_raw);
      for (Index j = 0; j < options().top_k; ++j) {
        const std::int32_t expert = tape.kept(t, j) != 0 ? tape.serving(t, j) : tape.choices(t, j);
        dp(t, expert) += d_raw[static_cast<std::size_t>(j)];
      }
    }
  }

  // I_e = the sum over tokens of the gates that choose e, all choices, normalised as `selected`
  void measure_importance(TopkTape<T>& tape) const {
    tape.importance.assign(static_cast<std::size_t>(options().experts), 0.0);
    Scratch scratch;
    const std::span<T> gate = scratch.values<T>(options().top_k);
    const std::span<const char> all = scratch.values<char>(options().top_k, 1);
    for (Index t = 0; t < tape.choices.rows(); ++t) {
      normalise_gates<T>({Normalise::selected, 1.0}, tape.chosen_score.row(t), all, gate);
      for (Index j = 0; j < options().top_k; ++j) {
        tape.importance[static_cast<std::size_t>(tape.choices(t, j))] +=
            static_cast<double>(gate[static_cast<std::size_t>(j)]);
      }
    }
    tape.balance.importance = importance_loss(tape.importance);
  }

  void importance_backward(const TopkTape<T>& tape, double coefficient, MatrixView<T> dp) const {
    Scratch scratch;
    const std::span<double> d_importance = scratch.values<double>(options().experts);
    importance_loss_gradient(tape.importance, coefficient, d_importance);
    const std::span<const char> all = scratch.values<char>(options().top_k, 1);
    const std::span<T> d_gate = scratch.values<T>(options().top_k);
    const std::span<T> d_raw = scratch.values<T>(options().top_k);
    for (Index t = 0; t < tape.choices.rows(); ++t) {
      for (Index j = 0; j < options().top_k; ++j) {
        d_gate[static_cast<std::size_t>(j)] =
            static_cast<T>(d_importance[static_cast<std::size_t>(tape.choices(t, j))]);
      }
      std::fill(d_raw.begin(), d_raw.end(), T{0});
      normalise_gates_backward<T>({Normalise::selected, 1.0}, tape.chosen_score.row(t), all, d_gate, d_raw);
      for (Index j = 0; j < options().top_k; ++j) dp(t, tape.choices(t, j)) += d_raw[static_cast<std::size_t>(j)];
    }
  }

  [[nodiscard]] GateRule gate_rule() const { return {options().normalise, options().gate_scale}; }

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
