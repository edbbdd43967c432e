// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/train/hang_report.hpp"

#include "runtime/core/error.hpp"
#include "runtime/core/parse_number.hpp"

#include <fmt/ranges.h>

#include <algorithm>
#include <regex>
#include <sstream>

namespace conclave::train {
namespace {

const WatchedRank& of_rank(RankId rank, std::span<const WatchedRank> node) {
  const auto found = std::ranges::find(node, rank, &WatchedRank::rank);
  invariant(found != node.end(), "rank {} is not of this node", rank.value());
  return *found;
}

std::string place_text(const WatchedRank& r) {
  return fmt::format("{}, for {:.0f} s{}", r.place.text(), r.place.age_s,
                     r.process.empty() ? "" : "; its " + r.process);
}

std::string keeps_waiting(RankId rank, std::string_view place) {
  return fmt::format("rank {} keeps it waiting: last seen in {}", rank.value(), place);
}

std::vector<const WatchedRank*> behind_here(const WatchedRank& own, std::span<const WatchedRank> node) {
  std::vector<const WatchedRank*> behind;
  for (const WatchedRank& r : node) {
    if (r.place.passed < own.place.passed || (r.rank != own.rank && !r.process.empty())) behind.push_back(&r);
  }
  return behind;
}

std::vector<Index> unheard_of(std::span<const WatchedRank> node, std::span<const ToldRank> elsewhere, Index num_ranks) {
  std::vector<Index> ranks;
  for (RankId rank; rank < RankId{num_ranks}; ++rank) {
    const bool is_known = std::ranges::count(node, rank, &WatchedRank::rank) > 0 ||
                          std::ranges::count(elsewhere, rank, &ToldRank::rank) > 0;
    if (!is_known) ranks.push_back(rank.value());
  }
  return ranks;
}

std::string in_words(const std::vector<Index>& ranks) {
  constexpr std::size_t most = 16;
  const std::span shown(ranks.data(), std::min(most, ranks.size()));
  const std::string more = ranks.size() > most ? fmt::format(" and {} more", ranks.size() - most) : std::string();
  return fmt::format("rank{} {}{}", ranks.size() == 1 ? "" : "s", fmt::join(shown, ", "), more);
}

}  // namespace

std::string state_text(std::span<const WatchedRank> node) {
  std::string text;
  for (const WatchedRank& r : node) {
    text += fmt::format("rank {} {} {}; {} places passed\n", r.rank.value(), r.place.waits ? "waits in" : "is in",
                        place_text(r), r.place.passed);
  }
  return text;
}

std::vector<ToldRank> told_in(std::string_view text) {
  static const std::regex line_of_rank("rank ([0-9]+) (?:waits|is) in (.*); ([0-9]+) places passed");
  std::vector<ToldRank> told;
  std::istringstream lines{std::string(text)};
  std::smatch match;
  for (std::string line; std::getline(lines, line);) {
    if (!std::regex_match(line, match, line_of_rank)) continue;
    const std::optional<Index> rank = parse_number<Index>(match[1].str());
    const std::optional<Index> passed = parse_number<Index>(match[3].str());
    if (rank && passed) told.push_back({RankId{*rank}, *passed, match[2].str()});
  }
  return told;
}

bool names_somebody(RankId speaker, std::span<const WatchedRank> node) {
  return !behind_here(of_rank(speaker, node), node).empty();
}

std::vector<std::string> hang_report(RankId speaker, double unmoved_s, std::span<const WatchedRank> node,
                                     std::span<const ToldRank> elsewhere, Index num_ranks) {
  const WatchedRank& own = of_rank(speaker, node);
  std::vector<Index> behind;
  std::vector<std::string> lines;
  for (const WatchedRank* r : behind_here(own, node)) {
    behind.push_back(r->rank.value());
    lines.push_back(keeps_waiting(r->rank, place_text(*r)));
  }
  for (const ToldRank& r : elsewhere) {
    if (r.passed >= own.place.passed) continue;
    behind.push_back(r.rank.value());
    lines.push_back(keeps_waiting(r.rank, r.place));
  }
  if (behind.empty()) {
    behind = unheard_of(node, elsewhere, num_ranks);
    if (!behind.empty()) {
      lines.push_back(in_words(behind) + " did not tell where: at work still, stopped, or on a node out of reach");
    }
  }
  const bool waits = own.place.waits || !behind.empty();
  std::string first = fmt::format("no progress for {:.0f} s: rank {} {} {}", unmoved_s, speaker.value(),
                                  waits ? "waits in" : "is in", own.place.text());
  if (!behind.empty()) {
    first += " for " + in_words(behind);
  } else if (num_ranks > std::ssize(node)) {
    first += ", and no rank is behind it: it waits for a message that got lost";
  }
  lines.insert(lines.begin(), first);
  return lines;
}

}  // namespace conclave::train
