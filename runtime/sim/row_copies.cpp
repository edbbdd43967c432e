// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/sim/row_copies.hpp"

#include "runtime/core/at.hpp"

#include <algorithm>

namespace conclave::sim {
namespace {

// Of a polynomial in x the coefficients up to x^choices: x counts the experts that a token has chosen.
using Polynomial = std::vector<double>;

// Times (1 + odds x).
void multiply(Polynomial& p, double odds) {
  for (std::size_t i = p.size(); i-- > 1;) p[i] += odds * p[i - 1];
}

Polynomial product(const Polynomial& a, const Polynomial& b) {
  Polynomial result(a.size(), 0.0);
  for (std::size_t i = 0; i < a.size(); ++i) {
    for (std::size_t j = 0; i + j < result.size(); ++j) result[i + j] += a[i] * b[j];
  }
  return result;
}

double odds(double chance) {
  constexpr double surely = 1.0 - 1e-4;  // more would say the same
  const double p = std::min(chance, surely);
  return p / (1.0 - p);
}

Polynomial one(Index choices) {
  Polynomial p(at(choices) + 1, 0.0);
  p.front() = 1.0;
  return p;
}

}  // namespace

// That a token goes nowhere near a node: of the products of all experts' (1 + odds x) the share of x^choices that is
// left when what would be kept on the node counts nothing.
double distinct_share(std::span<const std::vector<NodeChoice>> nodes, Index choices, double kept) {
  std::vector<Polynomial> whole;   // of a node's experts
  std::vector<Polynomial> missed;  // likewise, where nothing goes to the node
  double rows = 0.0;
  for (const std::vector<NodeChoice>& node : nodes) {
    whole.push_back(one(choices));
    missed.push_back(one(choices));
    for (const NodeChoice& choice : node) {
      multiply(whole.back(), choice.share * odds(choice.chance));
      multiply(missed.back(), choice.share * odds(choice.chance) * (1.0 - kept));
      rows += choice.share * choice.chance * kept;
    }
  }
  std::vector<Polynomial> after(nodes.size() + 1, one(choices));  // of the nodes from each on
  for (std::size_t n = nodes.size(); n-- > 0;) after[n] = product(whole[n], after[n + 1]);
  const double all = after.front().back();
  if (!(rows > 0.0 && all > 0.0)) return 1.0;
  Polynomial before = one(choices);
  double distinct = 0.0;
  for (std::size_t n = 0; n < nodes.size(); ++n) {
    distinct += 1.0 - product(product(before, missed[n]), after[n + 1]).back() / all;
    before = product(before, whole[n]);
  }
  return std::min(1.0, distinct / rows);
}

}  // namespace conclave::sim
