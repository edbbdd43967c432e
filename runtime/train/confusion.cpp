// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/train/confusion.hpp"

#include <numeric>

namespace conclave::train {
namespace {

double share(Index part, Index whole) {
  return whole == 0 ? 0.0 : static_cast<double>(part) / static_cast<double>(whole);
}

}  // namespace

Confusion::Confusion(Index classes) : classes_(classes), counts_(static_cast<std::size_t>(classes * classes), 0) {}

Index Confusion::samples() const { return std::accumulate(counts_.begin(), counts_.end(), Index{0}); }

Index Confusion::samples_of(Index true_class) const {
  Index sum = 0;
  for (Index c = 0; c < classes_; ++c) sum += count(true_class, c);
  return sum;
}

Index Confusion::predictions_of(Index predicted) const {
  Index sum = 0;
  for (Index c = 0; c < classes_; ++c) sum += count(c, predicted);
  return sum;
}

double Confusion::precision(Index c) const { return share(count(c, c), predictions_of(c)); }

double Confusion::recall(Index c) const { return share(count(c, c), samples_of(c)); }

double Confusion::f1(Index c) const { return share(2 * count(c, c), samples_of(c) + predictions_of(c)); }

Index Confusion::num_seen() const {
  Index seen = 0;
  for (Index c = 0; c < classes_; ++c) seen += is_seen(c) ? 1 : 0;
  return seen;
}

double Confusion::macro_f1() const {
  double sum = 0.0;
  for (Index c = 0; c < classes_; ++c) sum += f1(c);  // 0 where nothing is seen
  const Index seen = num_seen();
  return seen == 0 ? 0.0 : sum / static_cast<double>(seen);
}

double Confusion::weighted_f1() const {
  double sum = 0.0;
  for (Index c = 0; c < classes_; ++c) sum += static_cast<double>(samples_of(c)) * f1(c);
  return samples() == 0 ? 0.0 : sum / static_cast<double>(samples());
}

}  // namespace conclave::train
