// SPDX-License-Identifier: BSD-3-Clause
// The routers once more, straight from the definition of the MoE layer: plain loops in float64 over one group, or over
// the groups of a step, no speed, and nothing taken from gating/ but the options' names. Tests hold the routers against
// it.
#pragma once

#include "tests/gating/reference_capacity.hpp"
#include "tests/gating/reference_fixed.hpp"
#include "tests/gating/reference_scores.hpp"

namespace conclave::test {

inline bool reference_has_scores(const gating::RouterOptions& o) {
  return o.router == "topk" || o.router == "expert_choice";
}

/// k of the capacity formula.
inline double reference_mean_choices(const gating::RouterOptions& o) {
  if (o.router != "bernoulli") return static_cast<double>(o.top_k);
  double sum = 0.0;
  for (const double a : reference_or(o.activation, o.experts, 1.0 / static_cast<double>(o.experts))) sum += a;
  return sum;
}

/// Slots of an expert among num_tokens tokens, of a group or of the step.
inline Index reference_slots(const gating::RouterOptions& o, bool training, Index num_tokens) {
  return reference_capacity(o.capacity_formula, training ? o.capacity_factor : o.eval_capacity_factor,
                            reference_mean_choices(o), num_tokens, o.experts, o.min_capacity);
}

/// Section 2: the choices of one token.
inline IndexRow reference_choices(const Row& q, Index top_k, Index num_blocks, Index blocks_kept) {
  const Index block_size = static_cast<Index>(q.size()) / num_blocks;
  Row block_score;
  for (Index b = 0; b < num_blocks; ++b) {
    Row block(q.begin() + b * block_size, q.begin() + (b + 1) * block_size);
    std::sort(block.begin(), block.end(), std::greater<>());
    block_score.push_back(block_size == 1 ? block[0] : block[0] + block[1]);
  }
  const IndexRow blocks = reference_top(block_score, blocks_kept, [](Index) { return true; });
  return reference_top(q, top_k, [&](Index e) { return reference_holds(blocks, e / block_size); });
}

/// DeepSpeed's second choice, in training: of the experts but the first, the one with the largest z - ln(-ln u).
inline void reference_sample(const ReferenceInput& in, ReferenceRouting& r) {
  if (!in.training || in.options.second_policy != gating::SecondPolicy::sampled || in.options.top_k != 2) return;
  const Random gumbel(in.seed, RandomStream::gumbel, in.layer, in.step);
  for (std::size_t t = 0; t < r.choices.size(); ++t) {
    Row noisy;
    for (std::size_t e = 0; e < r.z[t].size(); ++e) {
      const double u = gumbel.uniform(in.first_token + static_cast<Index>(t), static_cast<Index>(e));
      noisy.push_back(r.z[t][e] - std::log(-std::log(u)));
    }
    r.choices[t][1] = reference_best(noisy, [&](Index e) { return e != r.choices[t][0]; });
  }
}

/// Section 3, GShard's second expert: choice 1 asks only if 2 g > u, g its share of the two raw gates; FastMoE turns it
/// down by the same draw after it took a slot.
inline void reference_refuse(const ReferenceInput& in, ReferenceRouting& r) {
  for (const IndexRow& row : r.choices) r.refused.emplace_back(row.size(), 0);
  r.is_late = in.options.second_policy == gating::SecondPolicy::random_late;
  const bool at_random = r.is_late || in.options.second_policy == gating::SecondPolicy::random;
  if (in.options.router != "topk" || !in.training || !at_random || in.options.top_k != 2) return;
  const Random second(in.seed, RandomStream::second, in.layer, in.step);
  for (std::size_t t = 0; t < r.choices.size(); ++t) {
    const double first_gate = r.p[t][static_cast<std::size_t>(r.choices[t][0])];
    const double second_gate = r.p[t][static_cast<std::size_t>(r.choices[t][1])];
    const double share = second_gate / std::max(first_gate + second_gate, 1e-9);
    if (2.0 * share > second.uniform(in.first_token + static_cast<Index>(t), 0)) continue;
    r.refused[t][1] = 1;
  }
}

/// What the order of serving looks at; no rows: position.
inline void reference_keys(const ReferenceInput& in, ReferenceRouting& r) {
  using gating::Priority;
  const Priority priority = in.options.priority;
  if (in.options.router != "topk" || priority == Priority::position) return;
  if (priority == Priority::random && !in.training) return;
  const Random draw(in.seed, RandomStream::priority, in.layer, in.step);
  for (std::size_t t = 0; t < r.choices.size(); ++t) {
    Row key;
    for (const Index e : r.choices[t]) key.push_back(r.p[t][static_cast<std::size_t>(e)]);
    if (priority == Priority::best_token) key.assign(key.size(), *std::max_element(key.begin(), key.end()));
    for (std::size_t j = 0; j < key.size() && priority == Priority::random; ++j) {
      key[j] = draw.uniform(in.first_token + static_cast<Index>(t), static_cast<Index>(j));
    }
    r.key.push_back(key);
  }
}

/// Expert choice: each expert takes the C tokens of the group with the largest p, of equals the lower token.
inline void reference_take(const ReferenceInput& in, ReferenceRouting& r) {
  const auto num_tokens = static_cast<Index>(in.x.size());
  r.capacity = reference_slots(in.options, in.training, num_tokens);
  r.choices.assign(in.x.size(), {});
  for (Index e = 0; e < in.options.experts; ++e) {
    Row column;
    for (const Row& p : r.p) column.push_back(p[static_cast<std::size_t>(e)]);
    for (const Index t : reference_top(column, r.capacity, [](Index) { return true; })) {
      r.choices[static_cast<std::size_t>(t)].push_back(e);
    }
  }
  r.serving = r.choices;
}

/// Everything up to the claims.
inline ReferenceRouting reference_choose(const ReferenceInput& in) {
  ReferenceRouting r;
  if (reference_has_scores(in.options)) reference_scores(in, r);
  if (in.options.router == "topk") {
    for (const Row& q : r.q) {
      r.choices.push_back(reference_choices(q, in.options.top_k, in.options.blocks, in.options.blocks_kept));
    }
    reference_sample(in, r);
  } else if (in.options.router == "expert_choice") {
    reference_take(in, r);
  } else {
    r.choices = reference_fixed_choices(in);
  }
  reference_refuse(in, r);
  reference_keys(in, r);
  return r;
}

/// Section 3: the combine weights.
inline void reference_gates(const gating::RouterOptions& options, ReferenceRouting& r) {
  for (std::size_t t = 0; t < r.choices.size(); ++t) {
    Row raw;
    double sum_selected = 0.0;
    double sum_kept = 0.0;
    for (std::size_t j = 0; j < r.choices[t].size(); ++j) {
      const bool kept = r.serving[t][j] >= 0;
      const auto expert = static_cast<std::size_t>(kept ? r.serving[t][j] : r.choices[t][j]);
      raw.push_back(reference_has_scores(options) ? r.p[t][expert] : 1.0 / static_cast<double>(r.choices[t].size()));
      sum_selected += raw[j];
      if (kept) sum_kept += raw[j];
    }
    Row gates;
    for (std::size_t j = 0; j < raw.size(); ++j) {
      double gate = raw[j];
      if (options.router == "topk") {
        if (options.normalise == gating::Normalise::selected) gate /= std::max(sum_selected, 1e-9);
        if (options.normalise == gating::Normalise::kept) gate /= std::max(sum_kept, 1e-9);
        gate *= options.gate_scale;
      }
      gates.push_back(r.serving[t][j] >= 0 ? gate : 0.0);
    }
    r.gates.push_back(gates);
  }
}

/// Who goes without, entry by entry, and the counts of it.
inline void reference_ledger(ReferenceRouting& r) {
  for (std::size_t t = 0; t < r.choices.size(); ++t) {
    const auto token = static_cast<Index>(t);
    bool served = false;
    for (std::size_t j = 0; j < r.choices[t].size(); ++j) {
      const auto choice = static_cast<Index>(j);
      const Index asked = r.choices[t][j];
      served = served || r.serving[t][j] >= 0;
      if (r.serving[t][j] >= 0) {
        r.num_rerouted += r.serving[t][j] != asked ? 1 : 0;
      } else if (r.refused[t][j] != 0) {
        r.ledger.emplace_back(token, choice, asked, "refused_second");
        ++r.num_refused;
      } else {
        r.ledger.emplace_back(token, choice, asked, "over_capacity");
        ++r.over_capacity;
      }
    }
    if (r.choices[t].empty()) {
      r.ledger.emplace_back(token, 0, -1, "unchosen");
      ++r.num_unchosen;
    }
    r.num_unserved += served ? 0 : 1;
  }
}

/// Section 7: the population variance over the squared mean of the experts' gates, all choices, normalised as selected.
inline double reference_importance(const ReferenceRouting& r, std::size_t num_experts) {
  Row importance(num_experts, 0.0);
  for (std::size_t t = 0; t < r.choices.size(); ++t) {
    double chosen_sum = 0.0;
    for (const Index e : r.choices[t]) chosen_sum += r.p[t][static_cast<std::size_t>(e)];
    for (const Index e : r.choices[t]) {
      importance[static_cast<std::size_t>(e)] += r.p[t][static_cast<std::size_t>(e)] / std::max(chosen_sum, 1e-9);
    }
  }
  double mean = 0.0;
  double mean_square = 0.0;
  for (const double i : importance) {
    mean += i / static_cast<double>(num_experts);
    mean_square += i * i / static_cast<double>(num_experts);
  }
  return mean == 0.0 ? 0.0 : (mean_square - mean * mean) / (mean * mean);
}

/// Section 7, before capacity: load, counted claims, and what z, importance and the entropy sum up. What experts choose
/// is not counted for the balance, nor what routers without scores do.
inline void reference_losses(const gating::RouterOptions& options, ReferenceRouting& r) {
  const auto num_experts = static_cast<std::size_t>(options.experts);
  r.load.assign(num_experts, 0);
  r.counted.assign(num_experts, 0);
  for (const IndexRow& choices : r.choices) {
    for (std::size_t j = 0; j < choices.size(); ++j) {
      const auto e = static_cast<std::size_t>(choices[j]);
      ++r.load[e];
      const bool counts = j == 0 || options.balance_count == gating::BalanceCount::all;
      if (options.router == "topk" && counts) ++r.counted[e];
    }
  }
  for (std::size_t t = 0; t < r.z.size(); ++t) {
    const double log_sum = reference_log_sum_exp(r.z[t]);
    r.z_sum += log_sum * log_sum;
    for (const double pi : r.pi[t]) r.entropy_sum -= pi > 0.0 ? pi * std::log(pi) : 0.0;
  }
  if (options.router == "topk") r.importance = reference_importance(r, num_experts);
}

/// The sum of pi over the tokens, for each expert; 0 without scores.
inline Row reference_probability(const ReferenceRouting& r) {
  Row sum(r.load.size(), 0.0);
  for (const Row& pi : r.pi) {
    for (std::size_t e = 0; e < pi.size(); ++e) sum[e] += pi[e];
  }
  return sum;
}

/// Section 7: E sum_e (n_e / N) mean_t(pi[t,e]); 0 without counted claims.
inline double reference_balance(const IndexRow& counted, const Row& probability, Index num_tokens) {
  double claims = 0.0;
  for (const Index n : counted) claims += static_cast<double>(n);
  double sum = 0.0;
  for (std::size_t e = 0; e < counted.size() && claims > 0.0; ++e) {
    sum += static_cast<double>(counted[e]) * probability[e] / (claims * static_cast<double>(num_tokens));
  }
  return static_cast<double>(counted.size()) * sum;
}

/// Sections 1 to 5 and 7 for the groups of a step, in their order. Each has its own slots, or all share the step's.
inline std::vector<ReferenceRouting> reference_route_step(const std::vector<ReferenceInput>& inputs) {
  std::vector<ReferenceRouting> groups;
  Index num_tokens = 0;
  for (const ReferenceInput& in : inputs) {
    groups.push_back(reference_choose(in));
    num_tokens += static_cast<Index>(in.x.size());
  }
  if (inputs.empty()) return groups;
  const gating::RouterOptions& options = inputs[0].options;
  const bool training = inputs[0].training;
  if (options.router != "expert_choice") {
    // The routers without scores know one order only, and nothing to re-route by.
    gating::RouterOptions serving = options;
    if (options.router != "topk") serving.priority = gating::Priority::position;
    if (options.capacity_scope == gating::CapacityScope::step) {
      reference_serve(serving, reference_slots(options, training, num_tokens), groups);
    } else {
      for (ReferenceRouting& r : groups) {
        r.capacity = reference_slots(options, training, static_cast<Index>(r.choices.size()));
        reference_serve(serving, r);
      }
    }
  }
  for (ReferenceRouting& r : groups) {
    for (std::size_t t = 0; t < r.choices.size() && r.is_late; ++t) {
      for (std::size_t j = 0; j < r.choices[t].size(); ++j) {
        if (r.refused[t][j] != 0) r.serving[t][j] = -1;
      }
    }
    reference_gates(options, r);
    reference_ledger(r);
    reference_losses(options, r);
  }
  return groups;
}

/// The same for one group by itself.
inline ReferenceRouting reference_route(const ReferenceInput& in) { return reference_route_step({in})[0]; }

}  // namespace conclave::test
