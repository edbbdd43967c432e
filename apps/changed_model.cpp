// SPDX-License-Identifier: BSD-3-Clause
#include "apps/changed_model.hpp"

#include "apps/router_options.hpp"
#include "apps/run_folder.hpp"
#include "runtime/train/agreed.hpp"
#include "runtime/train/checkpoint_draft.hpp"
#include "runtime/train/evaluator.hpp"
#include "runtime/train/model_contents.hpp"

#include <numeric>

namespace conclave::apps {

void describe(MeasureOptions& o, OptionTable& table) {
  table.add("data", o.data,
            "measure the loss before and after on the held-out part of other text; empty: the run's own");
  table.add("sequences", o.sequences, "held-out sequences or samples, from the first; 0: all");
  table.add("measure", o.measure, "measure the loss before and after; --no-measure needs no data");
}

ReadCheckpoint read_checkpoint(const Session& session, const std::string& path) {
  const OpenedCheckpoint opened = open_checkpoint(session.world, path);
  ReadCheckpoint read{opened.file, train::read_contents(opened.file), {}};
  read.options = changed_options(read.contents);
  return read;
}

train::TrainOptions changed_options(const train::CheckpointContents& contents) {
  train::TrainOptions options;
  static_cast<void>(adopt_options(contents.header, {}, options));
  train::validate(options);
  return options;
}

LoadedModel model_from(const Session& session, const std::filesystem::path& file,
                       const train::CheckpointContents& contents) {
  LoadedModel loaded = model_of(session, {file, contents.header}, -1.0, {}, "");
  train::load_values(contents.tensors, file, session.world, *loaded.model);
  return loaded;
}

train::Evaluation measure(LoadedModel& loaded, const MeasureOptions& o, const Session& session) {
  if (o.sequences < 0) throw InputError(fmt::format("sequences = {}", o.sequences), "give 0 (all) or more");
  const model::ModelKind kind = loaded.options.kind();
  if (!o.data.empty()) loaded.options.data.data = o.data;
  if (loaded.options.kind() != kind) {
    throw InputError(fmt::format("'{}' is other data than the model's run had", o.data),
                     "texts are files of label<TAB>text, feature vectors HDF5 files");
  }
  const auto dataset = checked_samples(session.world, loaded.options, loaded.encoding ? &*loaded.encoding : nullptr);
  const train::Evaluation evaluation = train::evaluate(
      *loaded.model, *dataset,
      {train::Split::validation, o.sequences, loaded.options.sequences_in_group(), loaded.options.groups_in_pass()},
      session.world);
  if (evaluation.tokens == 0) {
    throw InputError(fmt::format("nothing is held out of {}", dataset->description()),
                     "name other data with --data, or measure nothing: --no-measure");
  }
  return evaluation;
}

namespace {

ModelRow row_of(const std::string& name, const train::CheckpointContents& contents,
                const model::ModelOptions& options) {
  ModelRow row;
  row.name = name;
  std::map<std::string, std::vector<Index>> shapes;
  for (const auto& [path, tensor] : contents.tensors) {
    shapes[path] = tensor.shape;
    if (!path.starts_with(train::parameter_group)) continue;
    row.file_bytes += std::ssize(tensor.values) * static_cast<Index>(sizeof(float));
    if (!train::is_trained(path)) continue;
    row.nonzero += std::ssize(tensor.values) - std::count(tensor.values.begin(), tensor.values.end(), 0.0F);
  }
  row.counts = parameter_counts(shapes, options);
  return row;
}

}  // namespace

void refuse_used_out(const Session& session, const ReadCheckpoint& read, const std::string& out) {
  train::TrainOptions options = read.options;
  options.out = out;
  refuse_used_folder(session.world, options, {});
}

std::filesystem::path write_changed(const Session& session, ReadCheckpoint& read, const std::string& out) {
  const Index step = train::integer_of(read.contents.header, "step", read.file);
  return train::write_checkpoint(session.world, out, step, {}, read.contents.header,
                                 train::parts_of(read.contents.tensors));
}

double chosen_experts(const gating::RouterOptions& router) {
  if (router.router != "bernoulli") return static_cast<double>(router.top_k);
  return router.activation.empty() ? 1.0 : std::accumulate(router.activation.begin(), router.activation.end(), 0.0);
}

ParameterCounts parameter_counts(const std::map<std::string, std::vector<Index>>& shapes,
                                 const model::ModelOptions& options) {
  ParameterCounts counts;
  double of_experts = 0.0;
  for (const auto& [path, shape] : shapes) {
    if (!train::is_trained(path)) continue;
    const Index size = train::num_elements(shape);
    counts.total += size;
    if (path.find("/moe/expert/") != std::string::npos) of_experts += static_cast<double>(size);
  }
  const double chosen = chosen_experts(options.router) / static_cast<double>(options.router.experts);
  counts.active = static_cast<double>(counts.total) - of_experts * (1.0 - std::min(1.0, chosen));
  return counts;
}

ModelRow measured_row(const std::string& name, const ReadCheckpoint& read, const MeasureOptions& o,
                      const Session& session) {
  ModelRow row = row_of(name, read.contents, read.options.model);
  LoadedModel model = model_from(session, read.file, read.contents);
  if (o.measure) row.loss = measure(model, o, session).loss;
  return row;
}

ModelRow stored_row(const std::string& name, const std::string& path, const MeasureOptions& o, const Session& session) {
  LoadedModel model = load_model(session, path, -1.0, {}, "");
  ModelRow row;
  train::on_root(session.world, [&] { row = row_of(name, train::read_contents(model.file), model.options.model); });
  if (o.measure) row.loss = measure(model, o, session).loss;
  return row;
}

std::string table_of(const std::vector<ModelRow>& rows, std::string_view unit) {
  std::string text = fmt::format("{:<10}{:>16}{:>14}{:>14}{:>14}{:>14}\n", "", "weights [bytes]", "parameters",
                                 "a token's", "not zero", "loss");
  for (const ModelRow& row : rows) {
    text += fmt::format("{:<10}{:>16}{:>14}{:>14.0f}{:>14}{:>14}\n", row.name, row.file_bytes, row.counts.total,
                        row.counts.active, row.nonzero, row.loss ? fmt::format("{:.6f}", *row.loss) : "not measured");
  }
  return text + fmt::format("  a token's: of all parameters, those that a token passes; loss: {}, held out\n", unit);
}

}  // namespace conclave::apps
