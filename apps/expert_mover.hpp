// SPDX-License-Identifier: BSD-3-Clause
// placement = auto in a run: what its steps are priced by, what is decided at checkpoints, and what became of it.
#pragma once

#include "apps/expert_moves.hpp"
#include "comm/mpi/communicator.hpp"
#include "runtime/model/options.hpp"

#include <functional>

namespace conclave::apps {

/// Files that moves are priced by; empty: what the run measures of itself.
struct PricingFiles {
  std::string machine{};
  std::string cluster{};
};
void describe(PricingFiles& files, OptionTable& table);
/// InputError for files of a run that moves no experts.
void validate(const PricingFiles& files, const train::TrainOptions& options);

class ExpertMover {
 public:
  /// A name and what is told by it: for people at once, and for the record.
  using Tell = std::function<void(const std::string& name, const std::string& text)>;

  /// Of a run with MoE layers, whose steps' records have a routing of these sizes. Measures messages between the ranks
  /// where no machine is given. InputError for files that are wrong, that do not fit the ranks, or that the simulator
  /// has no price for this run with. options and world must outlive it. Collective.
  ExpertMover(const train::TrainOptions& options, const PricingFiles& files, const model::DataShape& shape,
              const gating::RoutingSizes& sizes, const comm::Communicator& world);

  /// What moves are priced by, a clause.
  [[nodiscard]] const std::string& basis() const { return basis_; }
  /// A trainer begins, new or from a checkpoint.
  void begin();
  void add(const train::StepRecord& step);
  /// After step `done`, of which a checkpoint was asked for: tells what the last move brought, once that is known, and
  /// where the experts are better off, layer by layer, if the steps to come gain more than a move takes, which is
  /// cost_s; else nothing, and why in `record`. Collective; the root's times decide for all.
  [[nodiscard]] std::optional<std::vector<ExpertMap>> better_places(Index done, double cost_s, const Tell& tell,
                                                                    const Tell& record);
  /// The experts have been moved to what better_places said last, after step `done`; that took so long.
  void moved(Index done, double took_s, const Tell& tell);
  /// What the last move brought, if enough steps were timed since, and it was not told.
  void tell_gain(const Tell& tell);

 private:
  /// What the last move is held to.
  struct Promise {
    Index after = 0;  // step
    Index steps = 0;  // that were timed before
    double before_s = 0.0;
    double gain_s = 0.0;
  };

  const train::TrainOptions& options_;
  const comm::Communicator& world_;
  std::string basis_;
  std::optional<ExpertMoves> moves_;  // the root's
  std::optional<ExpertMove> next_;    // the root's
  double pricing_s_ = 0.0;            // the last proposal, on the root
  std::optional<Promise> promise_;    // the root's, until it is told what came of it
};

}  // namespace conclave::apps
