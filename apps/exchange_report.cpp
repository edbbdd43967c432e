// SPDX-License-Identifier: BSD-3-Clause
#include "apps/exchange_report.hpp"

#include <fmt/ranges.h>

#include <map>

namespace conclave::apps {

std::string text_of(const comm::ExchangeChoice& choice) {
  if (choice.measured.empty()) return fmt::format("{} (nothing travels)", choice.strategy);
  std::vector<std::string> measured;
  for (const auto& candidate : choice.measured) {
    measured.push_back(fmt::format("{} {:.1f} us", candidate.strategy, 1e6 * candidate.seconds));
  }
  return fmt::format("{} ({})", choice.strategy, fmt::join(measured, ", "));
}

std::string summary_of(std::span<const comm::ExchangeChoice> choices) {
  std::map<std::string, Index> uses;
  for (const comm::ExchangeChoice& choice : choices) ++uses[choice.strategy];
  std::vector<std::string> parts;
  for (const auto& [strategy, count] : uses) parts.push_back(fmt::format("{} for {}", strategy, count));
  return fmt::format("{} of {} exchanges; each is in run.h5, /record, with what was measured", fmt::join(parts, ", "),
                     choices.size());
}

}  // namespace conclave::apps
