// SPDX-License-Identifier: BSD-3-Clause
// How often a run is saved.
#pragma once

#include "runtime/core/ids.hpp"

namespace conclave::train {

/// Young's interval in steps (J. W. Young, CACM 17(9), 1974): of a run that fails every mtbf_s seconds [s] on average
/// and is stopped for cost_s [s] by each save, the time sqrt(2 cost_s mtbf_s) between saves loses least. Daly (FGCS
/// 22(3), 2006) shows it right to first order where cost_s is small beside mtbf_s; it is never taken longer than that.
/// At least 1 step. step_s [s], mtbf_s > 0.
[[nodiscard]] Index young_interval(double cost_s, double mtbf_s, double step_s);

}  // namespace conclave::train
