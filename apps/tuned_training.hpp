// SPDX-License-Identifier: BSD-3-Clause
// Searches what a user may choose about a training for the fastest step: how rows travel, waves, ranks and threads of a
// node, slots of experts.
#pragma once

#include "apps/training_simulation.hpp"

namespace conclave::apps {

/// What is chosen.
struct TrainingChoice {
  std::string exchange;
  Index waves = 0;  // 0: as the runtime takes them by itself
  Index ranks_per_node = 1;
  Index threads = 1;
  double capacity_factor = 0.0;
  friend bool operator==(const TrainingChoice&, const TrainingChoice&) = default;
};

/// A choice with its price.
struct TunedTraining {
  TrainingChoice choice;
  SimulatedPoint point;
  Index changes = 0;        // members that differ from what was asked about
  double balanced_s = 0.0;  // the step if experts were placed by their loads
};

/// One change of a tuned training.
struct ChangeReason {
  std::string change{};    // "exchange flat -> shared"
  double without_s = 0.0;  // the step with all the other changes
  std::string stretch{};   // of the step that it shortened most; empty: none
  double before_s = 0.0;
  double after_s = 0.0;
};

class TrainingSearch {
 public:
  /// On the nodes that `ranks` ranks fill. drop_limit: the largest share of choices without a slot; nothing: the
  /// capacity factor stays. InputError for a limit beside a recorded routing, whose drops have happened, and for one
  /// that is no share. Refers to the base and the communicator.
  TrainingSearch(const SettledTraining& base, Index ranks, std::optional<double> drop_limit,
                 const comm::Communicator& world);

  /// All choices, the present one first.
  [[nodiscard]] const std::vector<TrainingChoice>& candidates() const { return candidates_; }
  /// The price of one; nothing where it cannot be: ranks that fill nothing evenly, too much memory, too many drops.
  /// Collective.
  [[nodiscard]] std::optional<TunedTraining> priced(const TrainingChoice& choice) const;
  /// Each change of `tuned`, by what the step takes without it, that which brings most first. Collective.
  [[nodiscard]] std::vector<ChangeReason> reasons(const TunedTraining& tuned) const;
  /// Fills in balanced_s: what the same choice takes with experts placed by their loads. Collective.
  void price_balanced(TunedTraining& tuned) const;
  /// What the search supposes.
  [[nodiscard]] const std::vector<std::string>& notes() const { return notes_; }

 private:
  [[nodiscard]] SettledTraining chosen(const TrainingChoice& choice) const;
  void add_layouts();
  void add_factors(std::optional<double> drop_limit);

  const SettledTraining& base_;
  const comm::Communicator& world_;
  Index nodes_ = 1;
  double most_dropped_ = 1.0;
  TrainingChoice now_;
  std::vector<std::pair<Index, Index>> layouts_;  // ranks of a node, threads of a rank
  std::vector<double> factors_;
  std::vector<TrainingChoice> candidates_;
  std::vector<std::string> notes_;
};

}  // namespace conclave::apps
