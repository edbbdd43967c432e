// SPDX-License-Identifier: BSD-3-Clause
// Pictures of runs over their steps. `names`: what the runs are called in them.
#pragma once

#include "apps/recorded_run.hpp"
#include "apps/replayed_routing.hpp"
#include "apps/report_page.hpp"

#include <span>

namespace conclave::apps {

/// Loss in training and on held-out data, the latter's accuracy where samples have classes, learning rate, norm of the
/// gradient; of what no run has recorded there is none.
[[nodiscard]] std::vector<Picture> learning_pictures(std::span<const RecordedRun> runs,
                                                     const std::vector<std::string>& names);
/// Drop rate, entropy of the routers, and, of each run, the load of its experts. None where no run has MoE layers.
[[nodiscard]] std::vector<Picture> routing_pictures(std::span<const RecordedRun> runs,
                                                    const std::vector<std::string>& names);
/// Tokens a second, and, of each run, where its steps' time went.
[[nodiscard]] std::vector<Picture> speed_pictures(std::span<const RecordedRun> runs,
                                                  const std::vector<std::string>& names);

/// Rows that ranks send to one another; many ranks are drawn as blocks.
[[nodiscard]] Picture traffic_picture(const RankTraffic& traffic);

}  // namespace conclave::apps
