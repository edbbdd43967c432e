// SPDX-License-Identifier: BSD-3-Clause
// How much one thing that is counted tells about another.
#pragma once

#include "runtime/core/ids.hpp"

#include <vector>

namespace conclave::train {

/// Mutual information of the rows and the columns of a table of counts [bits].
struct Information {
  double plug_in = 0.0;    // of the counts as if they were the probabilities: too large for few counts
  double corrected = 0.0;  // without the bias of few counts; where there is nothing to tell it scatters around 0
  double most = 0.0;       // the smaller of both entropies, corrected too: never below `corrected`

  /// Of what there is to tell, 0 (nothing) to 1 (all); 0 where there is nothing.
  [[nodiscard]] double share() const { return corrected > 0.0 ? corrected / most : 0.0; }
};

/// Of counts [rows, cols], none negative. Each entropy H of a table with m cells that are not 0 and N counts is too
/// small by about (m - 1) / (2 N) nats (G. A. Miller, "Note on the bias of information estimates", in Information
/// Theory in Psychology, 1955: the Miller-Madow correction), so with I = H(row) + H(col) - H(row, col):
///
///   corrected = plug_in + (m_row + m_col - m_cells - 1) / (2 N ln 2) bits
///
/// All 0 where nothing was counted.
[[nodiscard]] Information information(const std::vector<Index>& counts, Index rows, Index cols);

}  // namespace conclave::train
