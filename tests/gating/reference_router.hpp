// SPDX-License-Identifier: BSD-3-Clause
// The top-k router once more, straight from the definition of the MoE layer: plain loops in float64 over one group, no
// speed, and nothing taken from gating/ but the options' names. Tests hold the router against it.
#pragma once

#include "gating/options.hpp"
#include "runtime/core/random.hpp"

#include <algorithm>
#include <cmath>
#include <functional>
#include <vector>

namespace conclave::test {

using Row = std::vector<double>;
using Rows = std::vector<Row>;
using IndexRow = std::vector<Index>;
using IndexRows = std::vector<IndexRow>;

/// One group and the router's parameters. S tokens, E experts.
struct ReferenceInput {
  gating::RouterOptions options;
  Rows x;              // [S, width]
  Rows weight;         // [E, width]
  Row bias;            // [E] or empty
  Rows noise_weight;   // [E, width] or empty
  Row selection_bias;  // [E] or empty
  Index seed = 0;
  Index layer = 0;
  Index step = 0;
  Index first_token = 0;
  bool training = true;
};

struct ReferenceRouting {
  Rows z, p, pi, q;   // [S, E] logits, scores, balance probabilities, selection scores
  IndexRows choices;  // [S, k] best first
  IndexRows refused;  // [S, k] 1: a second choice that was turned down
  IndexRows serving;  // [S, k] the expert that serves the choice, -1: none
  Rows gates;         // [S, k] 0 where nothing serves the choice
  IndexRow load;      // [E] all choices
  IndexRow counted;   // [E] those that the balance loss counts
  Index capacity = 0;
  Index over_capacity = 0;
  Index num_refused = 0;
  Index num_rerouted = 0;
  double z_sum = 0.0;
  double entropy_sum = 0.0;
  double importance = 0.0;
};

inline double reference_dot(const Row& a, const Row& b) {
  double sum = 0.0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

/// Section 1: x~ = x (1 - eps + 2 eps u), z = x~ W^T + b + N softplus(x~ W_noise^T).
inline Rows reference_logits(const ReferenceInput& in) {
  const Random jitter(in.seed, RandomStream::jitter, in.layer, in.step);
  const Random noise(in.seed, RandomStream::noise, in.layer, in.step);
  const double eps = in.training ? in.options.jitter : 0.0;
  Rows z;
  for (std::size_t t = 0; t < in.x.size(); ++t) {
    const Index token = in.first_token + static_cast<Index>(t);
    Row x = in.x[t];
    for (std::size_t i = 0; i < x.size() && eps > 0.0; ++i) {
      x[i] *= 1.0 - eps + 2.0 * eps * jitter.uniform(token, static_cast<Index>(i));
    }
    Row row;
    for (std::size_t e = 0; e < in.weight.size(); ++e) {
      double logit = reference_dot(x, in.weight[e]) + (in.bias.empty() ? 0.0 : in.bias[e]);
      if (in.training && in.options.noise) {
        logit +=
            noise.normal(token, static_cast<Index>(e)) * std::log1p(std::exp(reference_dot(x, in.noise_weight[e])));
      }
      row.push_back(logit);
    }
    z.push_back(row);
  }
  return z;
}

inline double reference_log_sum_exp(const Row& z) {
  const double largest = *std::max_element(z.begin(), z.end());
  double sum = 0.0;
  for (const double logit : z) sum += std::exp(logit - largest);
  return largest + std::log(sum);
}

inline Row reference_score(gating::Scorer scorer, const Row& z) {
  const double log_sum = reference_log_sum_exp(z);
  Row p;
  for (const double logit : z) {
    p.push_back(scorer == gating::Scorer::softmax ? std::exp(logit - log_sum) : 1.0 / (1.0 + std::exp(-logit)));
  }
  return p;
}

/// The lowest of the allowed places with the largest value, -1 if none is allowed.
inline Index reference_best(const Row& values, const std::function<bool(Index)>& allowed) {
  Index best = -1;
  for (Index i = 0; i < static_cast<Index>(values.size()); ++i) {
    if (allowed(i) && (best < 0 || values[static_cast<std::size_t>(i)] > values[static_cast<std::size_t>(best)]))
      best = i;
  }
  return best;
}

inline bool reference_holds(const IndexRow& row, Index value) {
  return std::find(row.begin(), row.end(), value) != row.end();
}

/// The `count` best of the allowed places, best first.
inline IndexRow reference_top(const Row& values, Index count, const std::function<bool(Index)>& allowed) {
  IndexRow top;
  for (Index n = 0; n < count; ++n) {
    top.push_back(reference_best(values, [&](Index i) { return allowed(i) && !reference_holds(top, i); }));
  }
  return top;
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

/// Section 4: the least whole number of slots that is not below cf k S / E, at least min_capacity, at most S.
inline Index reference_capacity(double factor, double choices, Index num_tokens, Index num_experts,
                                Index min_capacity) {
  if (factor == 0.0) return num_tokens;
  const double wanted = factor * choices * static_cast<double>(num_tokens) / static_cast<double>(num_experts);
  Index capacity = 0;
  while (capacity < num_tokens && (static_cast<double>(capacity) < wanted || capacity < min_capacity)) ++capacity;
  return capacity;
}

/// A claim: token and choice number.
struct ReferenceClaim {
  std::size_t t;
  std::size_t j;
};

/// Section 4: claims in the order in which they are served; ask_gate(t, j) is the score that Priority::probability
/// sees.
inline std::vector<ReferenceClaim> reference_order(const IndexRows& choices, gating::Priority priority,
                                                   const std::function<double(std::size_t, std::size_t)>& ask_gate) {
  std::vector<ReferenceClaim> waiting;
  for (std::size_t j = 0; !choices.empty() && j < choices[0].size(); ++j) {
    for (std::size_t t = 0; t < choices.size(); ++t) waiting.push_back({t, j});
  }
  if (priority == gating::Priority::position) return waiting;
  std::vector<ReferenceClaim> order;
  while (!waiting.empty()) {
    std::size_t best = 0;  // the first of the largest
    for (std::size_t c = 1; c < waiting.size(); ++c) {
      if (ask_gate(waiting[c].t, waiting[c].j) > ask_gate(waiting[best].t, waiting[best].j)) best = c;
    }
    order.push_back(waiting[best]);
    waiting.erase(waiting.begin() + static_cast<std::ptrdiff_t>(best));
  }
  return order;
}

/// Section 4: fills r.serving from choices, refused, p, q and capacity.
inline void reference_serve(const gating::RouterOptions& options, ReferenceRouting& r) {
  r.serving.assign(r.choices.size(), IndexRow(static_cast<std::size_t>(options.top_k), -1));
  IndexRow taken(static_cast<std::size_t>(options.experts), 0);
  std::vector<ReferenceClaim> dropped;
  const auto order = reference_order(r.choices, options.priority, [&](std::size_t t, std::size_t j) {
    return r.p[t][static_cast<std::size_t>(r.choices[t][j])];
  });
  for (const auto [t, j] : order) {
    if (r.refused[t][j] != 0) continue;
    Index& slots = taken[static_cast<std::size_t>(r.choices[t][j])];
    if (slots >= r.capacity) {
      dropped.push_back({t, j});
    } else {
      ++slots;
      r.serving[t][j] = r.choices[t][j];
    }
  }
  for (const auto [t, j] : dropped) {
    Index other = -1;
    if (options.overflow == gating::Overflow::reroute) {
      const ReferenceRouting& now = r;
      other = reference_best(r.q[t], [&, token = t](Index e) {
        return taken[static_cast<std::size_t>(e)] < now.capacity && !reference_holds(now.choices[token], e) &&
               !reference_holds(now.serving[token], e);
      });
    }
    if (other < 0) {
      ++r.over_capacity;
    } else {
      ++taken[static_cast<std::size_t>(other)];
      ++r.num_rerouted;
      r.serving[t][j] = other;
    }
  }
}

/// Section 3, GShard's second expert: choice 1 asks only if 2 g > u, g its share of the two raw gates.
inline void reference_refuse(const ReferenceInput& in, ReferenceRouting& r) {
  r.refused.assign(r.choices.size(), IndexRow(static_cast<std::size_t>(in.options.top_k), 0));
  if (!in.training || in.options.second_policy != gating::SecondPolicy::random || in.options.top_k != 2) return;
  const Random second(in.seed, RandomStream::second, in.layer, in.step);
  for (std::size_t t = 0; t < r.choices.size(); ++t) {
    const double first_gate = r.p[t][static_cast<std::size_t>(r.choices[t][0])];
    const double second_gate = r.p[t][static_cast<std::size_t>(r.choices[t][1])];
    const double share = second_gate / std::max(first_gate + second_gate, 1e-9);
    if (2.0 * share > second.uniform(in.first_token + static_cast<Index>(t), 0)) continue;
    r.refused[t][1] = 1;
    ++r.num_refused;
  }
}

/// Section 3: the combine weights.
inline void reference_gates(const gating::RouterOptions& options, ReferenceRouting& r) {
  for (std::size_t t = 0; t < r.choices.size(); ++t) {
    Row raw;
    double sum_selected = 0.0;
    double sum_kept = 0.0;
    for (std::size_t j = 0; j < r.choices[t].size(); ++j) {
      const bool kept = r.serving[t][j] >= 0;
      raw.push_back(r.p[t][static_cast<std::size_t>(kept ? r.serving[t][j] : r.choices[t][j])]);
      sum_selected += raw[j];
      if (kept) sum_kept += raw[j];
    }
    Row gates;
    for (std::size_t j = 0; j < raw.size(); ++j) {
      double gate = raw[j];
      if (options.normalise == gating::Normalise::selected) gate /= std::max(sum_selected, 1e-9);
      if (options.normalise == gating::Normalise::kept) gate /= std::max(sum_kept, 1e-9);
      gates.push_back(r.serving[t][j] >= 0 ? gate * options.gate_scale : 0.0);
    }
    r.gates.push_back(gates);
  }
}

/// Section 7, before capacity: load, counted claims, and what z, importance and the entropy sum up.
inline void reference_losses(const gating::RouterOptions& options, ReferenceRouting& r) {
  const auto num_experts = static_cast<std::size_t>(options.experts);
  r.load.assign(num_experts, 0);
  r.counted.assign(num_experts, 0);
  Row importance(num_experts, 0.0);
  for (std::size_t t = 0; t < r.choices.size(); ++t) {
    double chosen_sum = 0.0;
    for (const Index e : r.choices[t]) chosen_sum += r.p[t][static_cast<std::size_t>(e)];
    for (std::size_t j = 0; j < r.choices[t].size(); ++j) {
      const auto e = static_cast<std::size_t>(r.choices[t][j]);
      ++r.load[e];
      if (j == 0 || options.balance_count == gating::BalanceCount::all) ++r.counted[e];
      importance[e] += r.p[t][e] / std::max(chosen_sum, 1e-9);
    }
    const double log_sum = reference_log_sum_exp(r.z[t]);
    r.z_sum += log_sum * log_sum;
    for (const double pi : r.pi[t]) r.entropy_sum -= pi > 0.0 ? pi * std::log(pi) : 0.0;
  }
  double mean = 0.0;
  double mean_square = 0.0;
  for (const double i : importance) {
    mean += i / static_cast<double>(num_experts);
    mean_square += i * i / static_cast<double>(num_experts);
  }
  r.importance = mean == 0.0 ? 0.0 : (mean_square - mean * mean) / (mean * mean);
}

/// The sum of pi over the tokens, for each expert.
inline Row reference_probability(const ReferenceRouting& r) {
  Row sum(r.load.size(), 0.0);
  for (const Row& pi : r.pi) {
    for (std::size_t e = 0; e < pi.size(); ++e) sum[e] += pi[e];
  }
  return sum;
}

/// Section 7: E sum_e (n_e / N) mean_t(pi[t,e]); 0 without tokens.
inline double reference_balance(const IndexRow& counted, const Row& probability, Index num_tokens) {
  double claims = 0.0;
  for (const Index n : counted) claims += static_cast<double>(n);
  double sum = 0.0;
  for (std::size_t e = 0; e < counted.size() && num_tokens > 0; ++e) {
    sum += static_cast<double>(counted[e]) * probability[e] / (claims * static_cast<double>(num_tokens));
  }
  return static_cast<double>(counted.size()) * sum;
}

/// Sections 1 to 4 and 7 for one group.
inline ReferenceRouting reference_route(const ReferenceInput& in) {
  const gating::RouterOptions& options = in.options;
  ReferenceRouting r;
  r.z = reference_logits(in);
  for (const Row& z : r.z) {
    const Row p = reference_score(options.scorer, z);
    double total = 0.0;
    for (const double score : p) total += score;
    Row pi;
    Row q;
    for (std::size_t e = 0; e < p.size(); ++e) {
      pi.push_back(options.scorer == gating::Scorer::softmax ? p[e] : p[e] / total);
      q.push_back(p[e] + (in.selection_bias.empty() ? 0.0 : in.selection_bias[e]));
    }
    r.choices.push_back(reference_choices(q, options.top_k, options.blocks, options.blocks_kept));
    r.p.push_back(p);
    r.pi.push_back(pi);
    r.q.push_back(q);
  }
  const double factor = in.training ? options.capacity_factor : options.eval_capacity_factor;
  r.capacity = reference_capacity(factor, static_cast<double>(options.top_k), static_cast<Index>(in.x.size()),
                                  options.experts, options.min_capacity);
  reference_refuse(in, r);
  reference_serve(options, r);
  reference_gates(options, r);
  reference_losses(options, r);
  return r;
}

}  // namespace conclave::test
