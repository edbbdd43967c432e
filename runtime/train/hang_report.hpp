// SPDX-License-Identifier: BSD-3-Clause
// What there is to say of ranks that wait for one that does not come: the report, and the lines by which nodes tell one
// another where their ranks are, through files, when messages no longer come.
#pragma once

#include "runtime/core/whereabouts.hpp"

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace conclave::train {

/// A rank of this node, as its mates see it.
struct WatchedRank {
  RankId rank;
  Place place;
  std::string process;  // "", or what is wrong with it: "process 4711 is stopped"
};

/// A rank of another node, as that node has written it.
struct ToldRank {
  RankId rank;
  Index passed = 0;   // Place::passed
  std::string place;  // "combine of layer 5, step 17, for 31 s; its process 4711 is stopped"
};

/// A node's state as text, a line a rank, and back. What is no such line is passed over.
[[nodiscard]] std::string state_text(std::span<const WatchedRank> node);
[[nodiscard]] std::vector<ToldRank> told_in(std::string_view text);

/// Whether this node knows whom `speaker` waits for: a rank of it that has passed fewer places, or whose process does
/// not run.
[[nodiscard]] bool names_somebody(RankId speaker, std::span<const WatchedRank> node);

/// What there is to say when `speaker` has not moved for unmoved_s: whom it waits for, which are the ranks that have
/// passed fewer places than it has, or whose processes do not run, each with its place; where all that is known has
/// passed as many, the ranks of which nothing is known. `elsewhere`: of other nodes. In lines.
[[nodiscard]] std::vector<std::string> hang_report(RankId speaker, double unmoved_s, std::span<const WatchedRank> node,
                                                   std::span<const ToldRank> elsewhere, Index num_ranks);

}  // namespace conclave::train
