// SPDX-License-Identifier: BSD-3-Clause
// What `edit` and `compress` have in common: a checkpoint whole in memory, what a model of it computes on held-out data
// before and after, and how large it is.
#pragma once

#include "apps/loaded_model.hpp"
#include "runtime/train/checkpoint_contents.hpp"
#include "runtime/train/metrics.hpp"

namespace conclave::apps {

/// On what the loss is measured before and after.
struct MeasureOptions {
  std::string data;
  Index sequences = 256;
  bool measure = true;
};

void describe(MeasureOptions& o, OptionTable& table);

/// A checkpoint to be changed, and the options of its run.
struct ReadCheckpoint {
  std::filesystem::path file;
  train::CheckpointContents contents;
  train::TrainOptions options;
};

/// Reads the newest checkpoint that `path` names. InputError if there is none, or it is damaged. On one rank.
[[nodiscard]] ReadCheckpoint read_checkpoint(const Session& session, const std::string& path);

/// The options of a checkpoint's run. InputError where no run can have them.
[[nodiscard]] train::TrainOptions changed_options(const train::CheckpointContents& contents);

/// The model of a checkpoint in memory.
[[nodiscard]] LoadedModel model_from(const Session& session, const std::filesystem::path& file,
                                     const train::CheckpointContents& contents);

/// The loss of the model on the first held-out sequences of its run's data, or of other data of the same kind.
/// InputError if nothing is held out.
[[nodiscard]] train::Evaluation measure(LoadedModel& loaded, const MeasureOptions& o, const Session& session);

/// Refuses, with an InputError, a folder in which there is a run already.
void refuse_used_out(const Session& session, const ReadCheckpoint& read, const std::string& out);
/// Writes the checkpoint, after as many steps, into the folder `out`. Returns the file.
std::filesystem::path write_changed(const Session& session, ReadCheckpoint& read, const std::string& out);

/// How many experts a token passes in a layer, on average.
[[nodiscard]] double chosen_experts(const gating::RouterOptions& router);

/// How many parameters there are, and how many a token passes: all but the experts that it does not choose.
struct ParameterCounts {
  Index total = 0;
  double active = 0.0;  // on average over a layer's experts, where these differ in size
};
[[nodiscard]] ParameterCounts parameter_counts(const std::map<std::string, std::vector<Index>>& shapes,
                                               const model::ModelOptions& options);

/// A row of the table of a change: the model before, or after.
struct ModelRow {
  std::string name;
  Index file_bytes = 0;  // of the parameters alone; 0: not known
  ParameterCounts counts;
  Index nonzero = 0;  // parameters other than 0
  std::optional<double> loss;
};
/// Of a checkpoint as it is in memory, its loss measured where `o` says so. InputError if its tensors are not those of
/// its options.
[[nodiscard]] ModelRow measured_row(const std::string& name, const ReadCheckpoint& read, const MeasureOptions& o,
                                    const Session& session);
/// The same of a checkpoint in a file or folder, on any number of ranks; sizes are known on the root. Collective.
[[nodiscard]] ModelRow stored_row(const std::string& name, const std::string& path, const MeasureOptions& o,
                                  const Session& session);
/// A line of names and one for each row. `unit`: of the loss.
[[nodiscard]] std::string table_of(const std::vector<ModelRow>& rows, std::string_view unit);

}  // namespace conclave::apps
