// SPDX-License-Identifier: BSD-3-Clause
// What-ifs: a training and its cluster with some of their options given other values, each with each.
#pragma once

#include "apps/training_simulation.hpp"

namespace conclave::apps {

/// A key and the values that it takes.
struct Variation {
  std::string key;
  std::vector<std::string> values;
};

/// Of words as a list with commas gives them: {"nic_Bps=1e10", "2e10", "waves=1"} are two. InputError for a value
/// without a key, a key without values, and a key given twice.
[[nodiscard]] std::vector<Variation> parse_variations(const std::vector<std::string>& words);

/// Every combination of the values; the last key changes fastest.
class Grid {
 public:
  static constexpr Index most_points = 1'000'000;
  /// InputError for more than most_points.
  explicit Grid(std::vector<Variation> variations);
  [[nodiscard]] const std::vector<Variation>& variations() const { return variations_; }
  [[nodiscard]] Index size() const { return size_; }
  /// The number of the value that variation v has at a point.
  [[nodiscard]] Index choice(Index point, Index v) const {
    return point / strides_[static_cast<std::size_t>(v)] % std::ssize(variations_[static_cast<std::size_t>(v)].values);
  }
  /// [variations]
  [[nodiscard]] std::vector<std::string> values(Index point) const;
  /// The point that has the first value of variation v in place of its own.
  [[nodiscard]] Index with_first(Index point, Index v) const {
    return point - choice(point, v) * strides_[static_cast<std::size_t>(v)];
  }

 private:
  std::vector<Variation> variations_;
  std::vector<Index> strides_;
  Index size_ = 1;
};

/// Whose option a key is: of the simulation (ranks, skew), of the training, of the cluster or of its fabric
/// (fabric.KEY).
enum class KeyOwner { ranks, skew, training, cluster, fabric };

/// What a varied training is on how many ranks.
struct VariedTraining {
  SettledTraining training;
  Index ranks = 0;
};

/// Makes the trainings of a grid's points. Refers to the simulation and the session.
class Variator {
 public:
  /// InputError for a key that is nobody's, with the nearest names, and for one whose values could change nothing.
  /// Collective.
  Variator(const TrainingSimulation& simulation, const Session& session, const std::vector<Variation>& variations);
  /// The training with these values of the variations, on `ranks` ranks unless they are varied, 0 being as many as the
  /// cluster has. InputError for values that an option does not take, and options that do not fit together.
  [[nodiscard]] VariedTraining training(const std::vector<std::string>& values, Index ranks) const;
  /// As the options say, unvaried.
  [[nodiscard]] const SettledTraining& base() const { return base_; }

 private:
  [[nodiscard]] sim::Cluster varied_cluster(const std::vector<std::string>& values) const;
  void vary_training(const std::vector<std::string>& values, SettledTraining& s) const;

  const TrainingSimulation& simulation_;
  const Session& session_;
  std::vector<std::string> keys_;
  std::vector<KeyOwner> owners_;
  bool varies_data_ = false;
  SettledTraining base_;
  std::string cluster_text_;
};

}  // namespace conclave::apps
