// SPDX-License-Identifier: BSD-3-Clause
// What an expert computes, once more: plain loops in float64, row by row.
#pragma once

#include "experts/feed_forward.hpp"

#include <cmath>
#include <map>
#include <numbers>
#include <string>
#include <vector>

namespace conclave::test {

using Values = std::vector<double>;

/// An expert's tensors by the last part of their names: "w1", "b1", ...
using ReferenceWeights = std::map<std::string, Values>;

inline ReferenceWeights reference_tensors(const ParameterList& list, std::span<const double> values) {
  ReferenceWeights weights;
  for (const ParameterEntry& entry : list.entries()) {
    const auto part =
        values.subspan(static_cast<std::size_t>(entry.tensor.offset), static_cast<std::size_t>(entry.tensor.size()));
    weights[entry.name.substr(entry.name.rfind('/') + 1)] = Values(part.begin(), part.end());
  }
  return weights;
}

/// What experts share, if anything: tensors and their values.
struct ReferenceBase {
  ParameterList list;
  std::span<const double> values;
};

/// With a base each matrix is formed: W = W_base + A B.
inline ReferenceWeights reference_weights(const ParameterList& list, std::span<const double> values,
                                          const ReferenceBase& base) {
  ReferenceWeights weights = reference_tensors(list, values);
  for (auto& [name, w] : reference_tensors(base.list, base.values)) {
    const Values& a = weights.at(name + "_a");  // [out, rank]
    const Values& b = weights.at(name + "_b");  // [rank, in]
    for (const ParameterEntry& entry : base.list.entries()) {
      if (!entry.name.ends_with(name)) continue;
      const auto out = static_cast<std::size_t>(entry.tensor.rows);
      const auto in = static_cast<std::size_t>(entry.tensor.cols);
      const std::size_t rank = b.size() / in;
      for (std::size_t i = 0; i < out * in; ++i) {
        for (std::size_t r = 0; r < rank; ++r) w[i] += a[i / in * rank + r] * b[r * in + i % in];
      }
    }
    weights[name] = w;
  }
  return weights;
}

/// W x + b; b may be absent.
inline Values reference_affine(const ReferenceWeights& weights, const std::string& number, const Values& x) {
  const Values& w = weights.at("w" + number);
  const auto bias = weights.find("b" + number);
  Values y(w.size() / x.size(), 0.0);
  for (std::size_t i = 0; i < y.size(); ++i) {
    for (std::size_t j = 0; j < x.size(); ++j) y[i] += w[i * x.size() + j] * x[j];
    if (bias != weights.end()) y[i] += bias->second[i];
  }
  return y;
}

/// f(x) for one row.
inline Values reference_expert(experts::ExpertKind kind, const ReferenceWeights& weights, const Values& x) {
  using experts::ExpertKind;
  Values hidden = reference_affine(weights, "1", x);
  if (kind == ExpertKind::linear) return hidden;
  const Values gate = kind == ExpertKind::swiglu ? reference_affine(weights, "3", x) : Values();
  for (std::size_t i = 0; i < hidden.size(); ++i) {
    const double a = hidden[i];
    if (kind == ExpertKind::relu) hidden[i] = a > 0.0 ? a : 0.0;
    if (kind == ExpertKind::gelu) hidden[i] = a * 0.5 * std::erfc(-a / std::numbers::sqrt2);
    if (kind == ExpertKind::swiglu) hidden[i] = a / (1.0 + std::exp(-a)) * gate[i];
  }
  return reference_affine(weights, "2", hidden);
}

/// f(x) for x [n, width].
inline Values reference_expert_rows(const experts::ExpertShape& shape, const ParameterList& list,
                                    std::span<const double> values, std::span<const double> x,
                                    const ReferenceBase& base = {}) {
  const ReferenceWeights weights = reference_weights(list, values, base);
  const auto width = static_cast<std::size_t>(shape.width);
  Values y;
  for (std::size_t i = 0; i < x.size() / width; ++i) {
    const auto row = x.subspan(i * width, width);
    const Values out = reference_expert(shape.kind, weights, Values(row.begin(), row.end()));
    y.insert(y.end(), out.begin(), out.end());
  }
  return y;
}

}  // namespace conclave::test
