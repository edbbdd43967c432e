// SPDX-License-Identifier: BSD-3-Clause
// The training run that is measured: the options of `train`, of which a measurement uses some.
#pragma once

#include "apps/bench.hpp"
#include "runtime/train/options.hpp"
#include "runtime/train/trainer.hpp"

namespace conclave::apps {

struct TrainCase {
  train::TrainOptions train;
  BenchRun run;
};

/// The options of `train`, so that its configuration files can be measured.
void describe(TrainCase& c, OptionSections& sections);

/// InputError for an option in `unused` that stands on the command line. In a configuration file, which is that of a
/// whole run, all options have their place.
void refuse_unused(const Session& session, const std::set<std::string>& unused);

/// Options of `train` that say nothing about one of its steps, nor about saves: where files are, how a run begins and
/// ends, and when it is looked at.
[[nodiscard]] const std::set<std::string>& options_beside_the_step();

/// Settles and checks the options of a new run, applies what is said about computing, and opens its data. Collective.
[[nodiscard]] std::unique_ptr<train::Samples> settle(TrainCase& c, const Session& session);

/// "4 layers of width 128, 8 experts, 12 sequences of 64 tokens, 2 ranks, 1 threads"
[[nodiscard]] std::string size_text(const train::TrainOptions& options, const comm::Communicator& world);

/// The matrix products of one training step, as their floating-point operations over all ranks: of each matrix and row
/// 6 an element (forward, input gradient, weight gradient), and of attention 12 a feature and pair of a token with an
/// earlier one or itself. `step` says where the rows of experts went.
[[nodiscard]] double step_flops(const train::TrainOptions& options, const model::Model<float>& model,
                                const train::StepRecord& step);

}  // namespace conclave::apps
