// SPDX-License-Identifier: BSD-3-Clause
#include "gating/scores.hpp"

#include "runtime/core/gemm.hpp"
#include "runtime/core/scratch.hpp"
#include "runtime/core/vector_kernels.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace conclave::gating {
namespace {

// log(1 + exp(a)) without overflow.
double softplus(double a) { return std::max(a, 0.0) + std::log1p(std::exp(-std::abs(a))); }

double logistic(double a) { return 1.0 / (1.0 + std::exp(-a)); }

// The first token with a logit that is not finite. Routing goes on with 0 in place of its logits: no order of NaNs is
// one that sorting could rely on, and every rank must come to the step's end.
template <class T>
std::optional<TokenId> settle_not_finite(MatrixView<T> logits, const RouterInput<T>& input) {
  std::optional<TokenId> first;
  for (Index t = 0; t < logits.rows; ++t) {
    if (std::ranges::all_of(logits.row(t), [](T z) { return std::isfinite(z); })) continue;
    const TokenId token{input.first_token.value() + t};
    if (!input.notes_not_finite) {
      throw InputError(fmt::format("step {}, layer {}: the router's logits of token {} are not finite", input.step,
                                   input.layer, token.value()),
                       "training has diverged: resume from an earlier checkpoint with a lower learning rate or a "
                       "smaller gradient-norm limit");
    }
    std::ranges::fill(logits.row(t), T{0});
    if (!first) first = token;
  }
  return first;
}

}  // namespace

template <class T>
ScoreFunction<T>::ScoreFunction(const RouterOptions& options, Index seed, Index width, ParameterList& parameters,
                                const std::string& prefix)
    : options_(options), seed_(seed), gate_(make_gate_network<T>(options, width, parameters, prefix)) {
  if (options.noise) {
    noise_weight_ =
        parameters.add_matrix(prefix + "noise_weight", options.experts, width, {.deviation = initial_gate_deviation});
  }
}

template <class T>
std::optional<TokenId> ScoreFunction<T>::forward(ParameterView<const T> parameters, const RouterInput<T>& input,
                                                 Scores<T>& scores) const {
  const Index num_tokens = input.x.rows;
  const Index num_experts = options_.experts;
  if (jitters(input)) apply_jitter(input, scores);
  const ConstMatrixView<T> x = jitters(input) ? scores.jittered.view() : input.x;

  scores.logits.resize(num_tokens, num_experts);
  gate_->forward(parameters, x, scores.gate, scores.logits.view());
  if (is_noisy(input)) add_noise(parameters, input, x, scores);
  const std::optional<TokenId> not_finite = settle_not_finite<T>(scores.logits.view(), input);

  scores.probability.resize(num_tokens, num_experts);
  scores.log_sum_exp.resize(static_cast<std::size_t>(num_tokens));
  softmax_rows<T>(scores.logits.view(), scores.probability.view(), scores.log_sum_exp);
  scores.total.assign(static_cast<std::size_t>(num_tokens), T{1});
  if (options_.scorer == Scorer::sigmoid) {
    sigmoid<T>(std::as_const(scores.logits).flat(), scores.probability.flat());
    for (Index t = 0; t < num_tokens; ++t) {
      const auto p = scores.probability.row(t);
      scores.total[static_cast<std::size_t>(t)] =
          std::max(std::accumulate(p.begin(), p.end(), T{0}), std::numeric_limits<T>::min());
    }
  }
  return not_finite;
}

template <class T>
void ScoreFunction<T>::apply_jitter(const RouterInput<T>& input, Scores<T>& scores) const {
  const Random random(seed_, RandomStream::jitter, input.layer, input.step);
  const double eps = options_.jitter;
  scores.jitter.resize(input.x.rows, input.x.cols);
  scores.jittered.resize(input.x.rows, input.x.cols);
  for (Index t = 0; t < input.x.rows; ++t) {
    for (Index i = 0; i < input.x.cols; ++i) {
      const double factor = 1.0 - eps + 2.0 * eps * random.uniform(input.first_token.value() + t, i);
      scores.jitter(t, i) = static_cast<T>(factor);
      scores.jittered(t, i) = static_cast<T>(static_cast<double>(input.x(t, i)) * factor);
    }
  }
}

// z += N softplus(x~ W_noise^T)
template <class T>
void ScoreFunction<T>::add_noise(ParameterView<const T> parameters, const RouterInput<T>& input, ConstMatrixView<T> x,
                                 Scores<T>& scores) const {
  const Random random(seed_, RandomStream::noise, input.layer, input.step);
  scores.normal.resize(x.rows, options_.experts);
  scores.noise_input.resize(x.rows, options_.experts);
  gemm_nt<T>(x, parameters.matrix(noise_weight_), T{0}, scores.noise_input.view());
  for (Index t = 0; t < x.rows; ++t) {
    for (Index e = 0; e < options_.experts; ++e) {
      const double normal = random.normal(input.first_token.value() + t, e);
      scores.normal(t, e) = static_cast<T>(normal);
      scores.logits(t, e) += static_cast<T>(normal * softplus(static_cast<double>(scores.noise_input(t, e))));
    }
  }
}

template <class T>
void ScoreFunction<T>::backward(ParameterView<const T> parameters, const RouterInput<T>& input, const Scores<T>& scores,
                                const Cotangent& cotangent, MatrixView<T> dx, ParameterView<T> gradient) const {
  const Index num_tokens = input.x.rows;
  const bool is_sigmoid = options_.scorer == Scorer::sigmoid;
  Scratch scratch;
  const MatrixView<T> dz = scratch.matrix<T>(num_tokens, options_.experts, T{0});
  ConstMatrixView<T> lse_gradient = scores.probability.view();  // softmax(z): the gradient of logsumexp(z)
  if (is_sigmoid && cotangent.d_z != 0.0) {
    const MatrixView<T> softmax = scratch.matrix<T>(num_tokens, options_.experts);
    softmax_rows<T>(scores.logits.view(), softmax);
    lse_gradient = softmax;
  }

  for (Index t = 0; t < num_tokens; ++t) {
    const auto row = static_cast<std::size_t>(t);
    const auto p = scores.probability.row(t);
    const auto dp = cotangent.dp.row(t);
    if (!cotangent.d_balance.empty()) {
      // pi = p / s, s = sum_e p: dp_e += (d_balance_e - sum_i d_balance_i pi_i) / s. Under softmax s is constant.
      double mean = 0.0;
      const auto s = static_cast<double>(scores.total[row]);
      if (is_sigmoid) {
        for (std::size_t e = 0; e < p.size(); ++e) mean += cotangent.d_balance[e] * static_cast<double>(p[e]) / s;
      }
      for (std::size_t e = 0; e < p.size(); ++e) dp[e] += static_cast<T>((cotangent.d_balance[e] - mean) / s);
    }
    if (is_sigmoid) {
      // p = sigma(z): dz = dp p (1 - p)
      for (std::size_t e = 0; e < p.size(); ++e) dz.row(t)[e] = dp[e] * p[e] * (T{1} - p[e]);
    }
    if (cotangent.d_z != 0.0) {
      // d lse^2 = 2 lse softmax(z)
      axpy<T>(static_cast<T>(2.0 * cotangent.d_z * static_cast<double>(scores.log_sum_exp[row])), lse_gradient.row(t),
              dz.row(t));
    }
  }
  if (!is_sigmoid) softmax_rows_backward<T>(scores.probability.view(), cotangent.dp, dz);
  logits_backward(parameters, input, scores, dz, dx, gradient);
}

template <class T>
void ScoreFunction<T>::logits_backward(ParameterView<const T> parameters, const RouterInput<T>& input,
                                       const Scores<T>& scores, ConstMatrixView<T> dz, MatrixView<T> dx,
                                       ParameterView<T> gradient) const {
  const ConstMatrixView<T> x = jitters(input) ? scores.jittered.view() : input.x;
  Scratch scratch;
  // d objective / d x~
  const MatrixView<T> dx_tilde = jitters(input) ? scratch.matrix<T>(x.rows, x.cols, T{0}) : dx;

  gate_->backward(parameters, x, scores.gate, dz, dx_tilde, gradient);
  if (is_noisy(input)) {
    // z += N softplus(a), a = x~ W_noise^T: da = dz N sigma(a)
    const MatrixView<T> da = scratch.matrix<T>(dz.rows, dz.cols);
    for (Index t = 0; t < dz.rows; ++t) {
      for (Index e = 0; e < dz.cols; ++e) {
        da(t, e) = static_cast<T>(static_cast<double>(dz(t, e)) * static_cast<double>(scores.normal(t, e)) *
                                  logistic(static_cast<double>(scores.noise_input(t, e))));
      }
    }
    gemm_nn<T>(da, parameters.matrix(noise_weight_), T{1}, dx_tilde);
    gemm_tn<T>(da, x, T{1}, gradient.matrix(noise_weight_));
  }
  if (jitters(input)) {
    for (Index t = 0; t < x.rows; ++t) {
      for (Index i = 0; i < x.cols; ++i) dx(t, i) += dx_tilde(t, i) * scores.jitter(t, i);
    }
  }
}

// H(pi) = -sum_e pi_e ln pi_e; of a softmax, ln p_e = z_e - lse: H = lse - sum_e p_e z_e.
template <class T>
double ScoreFunction<T>::entropy(const Scores<T>& scores, Index token) const {
  const auto p = scores.probability.row(token);
  if (options_.scorer == Scorer::softmax) {
    const T along = dot<T>(p, scores.logits.row(token));
    return static_cast<double>(scores.log_sum_exp[static_cast<std::size_t>(token)] - along);
  }
  double sum = 0.0;
  for (const T score : p) {
    const double pi = static_cast<double>(score) / static_cast<double>(scores.total[static_cast<std::size_t>(token)]);
    if (pi > 0.0) sum -= pi * std::log(pi);
  }
  return sum;
}

template <class T>
void ScoreFunction<T>::sum_up(const Scores<T>& scores, BalanceTerms& terms) const {
  const Index num_experts = options_.experts;
  terms.probability.assign(static_cast<std::size_t>(num_experts), 0.0);
  terms.z_sum = 0.0;
  terms.entropy_sum = 0.0;
  for (Index t = 0; t < scores.probability.rows(); ++t) {
    const auto row = static_cast<std::size_t>(t);
    const auto lse = static_cast<double>(scores.log_sum_exp[row]);
    terms.z_sum += lse * lse;
    terms.entropy_sum += entropy(scores, t);
    const double inverse = 1.0 / static_cast<double>(scores.total[row]);
    const T* p = scores.probability.row(t).data();
    double* sum = terms.probability.data();
    for (Index e = 0; e < num_experts; ++e) sum[e] += static_cast<double>(p[e]) * inverse;
  }
}

template class ScoreFunction<float>;
template class ScoreFunction<double>;

}  // namespace conclave::gating
