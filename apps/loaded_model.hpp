// SPDX-License-Identifier: BSD-3-Clause
// A trained model, ready for use without its optimizer.
#pragma once

#include "apps/command.hpp"
#include "apps/train_options.hpp"
#include "runtime/model/language_model.hpp"
#include "runtime/train/labelled.hpp"
#include "runtime/train/model_file.hpp"

namespace conclave::apps {

/// The model of a checkpoint on these ranks, and the options of the run that wrote it.
struct LoadedModel {
  train::TrainOptions options;
  std::filesystem::path file;
  Index step = 0;
  std::unique_ptr<model::Transport> transport;
  std::unique_ptr<model::Model<float>> model;
  std::optional<train::Encoding> encoding;  // of a classifier

  /// InputError if it is no language model.
  [[nodiscard]] model::LanguageModel<float>& language_model() const;
};

/// The model that a checkpoint's header describes, at drawn values, on these ranks; `file` is what messages name. The
/// rest as load_model. Collective.
[[nodiscard]] LoadedModel model_of(const Session& session, const OpenedCheckpoint& opened, double eval_capacity_factor,
                                   const ComputeOptions& compute, const std::string& exchange);

/// Loads the newest checkpoint that `path` names, or the model of a safetensors file or index of this program.
/// `eval_capacity_factor`, if it is not negative, takes the place of the run's. Computes with the threads of `compute`
/// from now on, and with its library where one was given, else with the run's. Rows travel by `exchange`; empty: as in
/// the run. InputError on every rank if there is no checkpoint or it is damaged. Collective.
[[nodiscard]] LoadedModel load_model(const Session& session, const std::string& path, double eval_capacity_factor,
                                     const ComputeOptions& compute, const std::string& exchange);

}  // namespace conclave::apps
