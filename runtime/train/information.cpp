// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/train/information.hpp"

#include "runtime/core/error.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace conclave::train {
namespace {

// Of what was counted, in bits, and how much too small the counts' own number is.
struct Entropy {
  double bits = 0.0;
  double lacking = 0.0;
};

Entropy entropy_of(const std::vector<Index>& counts, Index total) {
  Entropy entropy;
  Index cells = 0;  // that are not 0
  for (const Index count : counts) {
    if (count == 0) continue;
    const double share = static_cast<double>(count) / static_cast<double>(total);
    entropy.bits -= share * std::log2(share);
    ++cells;
  }
  entropy.lacking = static_cast<double>(cells - 1) / (2.0 * static_cast<double>(total) * std::numbers::ln2);
  return entropy;
}

}  // namespace

Information information(const std::vector<Index>& counts, Index rows, Index cols) {
  invariant(std::ssize(counts) == rows * cols, "{} counts of a table [{}, {}]", counts.size(), rows, cols);
  std::vector<Index> of_row(static_cast<std::size_t>(rows), 0);
  std::vector<Index> of_col(static_cast<std::size_t>(cols), 0);
  Index total = 0;
  for (std::size_t i = 0; i < counts.size(); ++i) {
    of_row[i / of_col.size()] += counts[i];
    of_col[i % of_col.size()] += counts[i];
    total += counts[i];
  }
  if (total == 0) return {};
  const Entropy row = entropy_of(of_row, total);
  const Entropy col = entropy_of(of_col, total);
  const Entropy both = entropy_of(counts, total);
  Information result;
  result.plug_in = std::max(0.0, row.bits + col.bits - both.bits);
  result.corrected = result.plug_in + row.lacking + col.lacking - both.lacking;
  result.most = std::min(row.bits + row.lacking, col.bits + col.lacking);
  return result;
}

}  // namespace conclave::train
