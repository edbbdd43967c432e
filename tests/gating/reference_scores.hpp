// SPDX-License-Identifier: BSD-3-Clause
// The scores of tokens, straight from the definitions: gate networks, jitter, noise, softmax or sigmoid, balanced
// assignment.
#pragma once

#include "tests/gating/reference_types.hpp"

namespace conclave::test {

inline double reference_dot(const Row& a, const Row& b) {
  double sum = 0.0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

/// x W^T + b; b may be empty.
inline Row reference_affine(const Row& x, const Rows& weight, const Row& bias) {
  Row y;
  for (std::size_t i = 0; i < weight.size(); ++i) {
    y.push_back(reference_dot(x, weight[i]) + (bias.empty() ? 0.0 : bias[i]));
  }
  return y;
}

/// The logits of one token by the gate network, without noise:
///   linear  x W^T + b
///   mlp     gelu(x V^T + c) W^T + b, gelu(a) = a Phi(a)
///   cosine  exp(min(temperature, ln 100)) cos(x P^T + c, m_e) + b_e
inline Row reference_gate(const ReferenceInput& in, const Row& x) {
  if (in.options.gate == gating::GateKind::linear) return reference_affine(x, in.weight, in.bias);
  Row inner = reference_affine(x, in.inner_weight, in.inner_bias);
  if (in.options.gate == gating::GateKind::mlp) {
    for (double& a : inner) a *= 0.5 * std::erfc(-a / std::sqrt(2.0));
    return reference_affine(inner, in.weight, in.bias);
  }
  const double scale = in.temperature < std::log(100.0) ? std::exp(in.temperature) : 100.0;
  Row z;
  for (std::size_t e = 0; e < in.weight.size(); ++e) {
    const Row& m = in.weight[e];
    const double cosine = reference_dot(inner, m) / std::sqrt(reference_dot(inner, inner) * reference_dot(m, m));
    z.push_back(scale * cosine + (in.bias.empty() ? 0.0 : in.bias[e]));
  }
  return z;
}

/// Section 1: x~ = x (1 - eps + 2 eps u), z = gate(x~) + N softplus(x~ W_noise^T).
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
    Row row = reference_gate(in, x);
    for (std::size_t e = 0; e < row.size() && in.training && in.options.noise; ++e) {
      row[e] += noise.normal(token, static_cast<Index>(e)) * std::log1p(std::exp(reference_dot(x, in.noise_weight[e])));
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

/// Section 2: q = d0 c d1, c = exp(z); d0 = (1/S) / sum_e c d1, then d1 = (1/E) / sum_t c d0, over and over.
inline Rows reference_sinkhorn(const Rows& z, Index iterations) {
  Rows q = z;
  if (z.empty()) return q;
  Row d0(z.size(), 1.0);
  Row d1(z[0].size(), 1.0);
  for (Index n = 0; n < iterations; ++n) {
    for (std::size_t t = 0; t < d0.size(); ++t) {
      double sum = 0.0;
      for (std::size_t e = 0; e < d1.size(); ++e) sum += std::exp(z[t][e]) * d1[e];
      d0[t] = 1.0 / static_cast<double>(d0.size()) / sum;
    }
    for (std::size_t e = 0; e < d1.size(); ++e) {
      double sum = 0.0;
      for (std::size_t t = 0; t < d0.size(); ++t) sum += std::exp(z[t][e]) * d0[t];
      d1[e] = 1.0 / static_cast<double>(d1.size()) / sum;
    }
  }
  for (std::size_t t = 0; t < d0.size(); ++t) {
    for (std::size_t e = 0; e < d1.size(); ++e) q[t][e] = d0[t] * std::exp(z[t][e]) * d1[e];
  }
  return q;
}

/// Sections 1 and 2: fills r.z, p, pi and q.
inline void reference_scores(const ReferenceInput& in, ReferenceRouting& r) {
  const gating::RouterOptions& options = in.options;
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
    r.p.push_back(p);
    r.pi.push_back(pi);
    r.q.push_back(q);
  }
  // Balanced in training; in evaluation the logits themselves.
  if (options.selection == gating::Selection::sinkhorn) {
    r.q = in.training ? reference_sinkhorn(r.z, options.sinkhorn_iterations) : r.z;
  }
}

}  // namespace conclave::test
