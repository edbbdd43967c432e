// SPDX-License-Identifier: BSD-3-Clause
// Pictures of runs over their steps. `names`: what the runs are called in them.
#pragma once

#include "apps/recorded_run.hpp"
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
/// Tokens a second, and, of each run, where its steps' time went: by phase, by what ranks did, and by layer.
[[nodiscard]] std::vector<Picture> speed_pictures(std::span<const RecordedRun> runs,
                                                  const std::vector<std::string>& names);

/// What a picture of one run is called, and its file: by its name, and its number, if it is not the only one.
[[nodiscard]] std::string of_run(const std::string& what, std::span<const RecordedRun> runs, const std::string& name);
[[nodiscard]] std::string file_of(const std::string& what, std::span<const RecordedRun> runs, std::size_t r);

}  // namespace conclave::apps
