// SPDX-License-Identifier: BSD-3-Clause
// What a report says of runs: tables of what they were and came to, and pictures of their steps.
#pragma once

#include "apps/recorded_run.hpp"
#include "apps/report_page.hpp"

#include <span>

namespace conclave::apps {

/// A name for each run that is short, and no other one's; runs of one folder's name keep their whole path.
[[nodiscard]] std::vector<std::string> short_names(std::span<const RecordedRun> runs);

/// Sections about at least one run.
[[nodiscard]] std::vector<PageSection> run_sections(std::span<const RecordedRun> runs);

}  // namespace conclave::apps
