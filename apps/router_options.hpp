// SPDX-License-Identifier: BSD-3-Clause
// A router's options between what a user gives and what a run is made of: the preset, the file of rules, and what to
// say about them.
#pragma once

#include "apps/train_options.hpp"
#include "gating/explain.hpp"
#include "gating/presets.hpp"

namespace conclave::apps {

/// Gives a new run the values of its preset, and the rules of options.rule_file, which afterwards is empty. A run that
/// goes on from a checkpoint keeps its values. InputError for a preset that cannot be taken any more, and for a file of
/// rules that cannot be read or has no place. Collective.
void settle_router(const Session& session, const std::optional<OpenedCheckpoint>& from, train::TrainOptions& options);

/// InputError where the model routes by rules for domains that the data does not have.
void refuse_unknown_domains(const model::ModelOptions& options, const train::Samples& dataset);
/// The data of a run, as train::make_samples. InputError on every rank for what that cannot read on one of them, and if
/// the router's rules name domains that it lacks. Collective.
[[nodiscard]] std::unique_ptr<train::Samples> checked_samples(const comm::Communicator& world,
                                                              const train::TrainOptions& options,
                                                              const train::Encoding* known = nullptr);

/// What to tell a user about the router at the start, a sentence each: where it is not as its preset, which of the
/// given options change nothing, and what else there is to know.
[[nodiscard]] std::vector<std::string> router_notices(const gating::RouterOptions& options,
                                                      const std::set<std::string>& given);

/// gating::explain as text, wrapped at `width` columns.
[[nodiscard]] std::string router_explanation(const gating::RouterOptions& options, const gating::RoutedTokens& tokens,
                                             Index width);
[[nodiscard]] std::string router_explanation(const train::TrainOptions& options, Index width);

}  // namespace conclave::apps
