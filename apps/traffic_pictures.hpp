// SPDX-License-Identifier: BSD-3-Clause
// Pictures of who sends rows to whom.
#pragma once

#include "apps/recorded_run.hpp"
#include "apps/replayed_routing.hpp"
#include "apps/report_page.hpp"

#include <span>

namespace conclave::apps {

/// Rows that ranks, or nodes, sent one another in each run that has recorded it, in the same colours. `names`: what the
/// runs are called.
[[nodiscard]] std::vector<Picture> traffic_pictures(std::span<const RecordedRun> runs,
                                                    const std::vector<std::string>& names);
/// Rows that ranks send to one another by a recorded routing; many ranks are drawn as blocks.
[[nodiscard]] Picture traffic_picture(const RankTraffic& traffic);

}  // namespace conclave::apps
