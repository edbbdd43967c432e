// SPDX-License-Identifier: BSD-3-Clause
// What is known about a step and about an evaluation, over all ranks.
#pragma once

#include "gating/routing_trace.hpp"
#include "runtime/core/trace.hpp"
#include "runtime/model/drop_ledger.hpp"
#include "runtime/model/moe_statistics.hpp"
#include "runtime/train/attribution.hpp"
#include "runtime/train/confusion.hpp"
#include "runtime/train/samples.hpp"

#include <optional>
#include <string>

namespace conclave::train {

/// What a loss is taken over.
[[nodiscard]] constexpr std::string_view loss_unit(bool has_classes) {
  return has_classes ? "nats/sample" : "nats/token";
}

/// Seconds of a phase, or of communication: over ranks.
struct PhaseSpread {
  double min_s = 0.0;
  double mean_s = 0.0;
  double max_s = 0.0;
};

[[nodiscard]] PhaseSpread spread_of(std::span<const double> seconds_of_rank);

/// What a rank asks of all of them at the end of a step: a number that its caller gives a meaning, 0 for nothing.
struct StepRequest {
  Index what = 0;
  RankId rank{0};  // the lowest that asks
};

/// One training step. All but the times and the request is the same for any number of ranks and threads. Of a skipped
/// step nothing counts but its number: no tokens, no statistics, and a loss and a norm that may be no number.
struct StepRecord {
  Index step = 0;     // steps done, this one included
  Index tokens = 0;   // of the step, those that only fill up a text included
  double loss = 0.0;  // cross entropy, nats a token, or a sample that has a class
  std::string_view loss_unit = "nats/token";
  double router_loss = 0.0;    // the routers' losses with their coefficients, over all layers
  double gradient_norm = 0.0;  // before clipping
  double learning_rate = 0.0;
  std::vector<model::LayerStatistics> layers;  // one an MoE layer
  double seconds = 0.0;                        // the slowest rank's, but for telling the others
  std::array<PhaseSpread, num_phases> phases{};
  /// What was on its way between ranks, hidden or not (PhaseTimes::communication_s); Phase::wait is the exposed part.
  PhaseSpread communication;
  Attribution attribution;
  StepRequest request;
  std::string skipped;                         // why the step changed nothing, a sentence; empty: it was not skipped
  std::vector<std::string> alarms;             // what a person should hear at once, a sentence each
  std::string straggler;                       // a sentence about a rank that others wait for, or nothing: of times
  std::vector<model::DropRecord> drops;        // the ledger, if it was asked for
  std::optional<gating::RoutingStep> routing;  // if it was asked for; of a skipped step nothing

  [[nodiscard]] double objective() const { return loss + router_loss; }
  [[nodiscard]] double tokens_per_s() const { return seconds > 0.0 ? static_cast<double>(tokens) / seconds : 0.0; }
  /// Over all layers.
  [[nodiscard]] double drop_rate() const;
};

/// One evaluation on held-out data.
struct Evaluation {
  Split split = Split::validation;
  Index step = 0;     // steps trained
  Index tokens = 0;   // 0: nothing was held out
  Index targets = 0;  // that have a loss: tokens, or samples
  double loss = 0.0;  // nats a token, or a sample that has a class
  std::string_view loss_unit = "nats/token";
  double accuracy = 0.0;  // of the largest logit, or of the vote
  Confusion confusion;    // of samples that have a class, else of no classes
  std::vector<model::LayerStatistics> layers;
  /// How much an expert says about a token's domain, one number an MoE layer: Information::share(), 0 (nothing) to 1
  /// (all). Empty where the data has no known domains.
  std::vector<double> domain_information;
  /// What all would be, one number an MoE layer: Information::most. [bits]
  std::vector<double> domain_most_bits;
  /// The domains that the held-out tokens come from; with fewer than 2 the information is 0 for want of a difference.
  Index domains_seen = 0;
  /// How much the expert of a token in one MoE layer says about its expert in the next one, one number a pair of
  /// layers: Information::share() of the first kept choices, 0 (nothing) to 1 (all).
  std::vector<double> layer_agreement;

  /// What the loss is over: "120 tokens", "30 samples", "40 of 120 tokens".
  [[nodiscard]] std::string size_text() const;
};

/// A process has begun, resumed, or gone back to the end of a step of a run.
struct RunStart {
  Index step = 0;   // steps done then
  Index ranks = 0;  // 0: not known
};

/// A checkpoint that stands.
struct SavedCheckpoint {
  Index step = 0;
  double seconds = 0.0;  // from its beginning until it stood
};

/// How the rows of an inbox travel was decided, by measuring in the steps before and in this one.
struct ExchangeDecision {
  Index step = 0;
};

/// One line of JSON, for metrics.jsonl.
[[nodiscard]] std::string to_json(const StepRecord& record);
[[nodiscard]] std::string to_json(const Evaluation& evaluation);

}  // namespace conclave::train
