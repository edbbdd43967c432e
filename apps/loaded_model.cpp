// SPDX-License-Identifier: BSD-3-Clause
#include "apps/loaded_model.hpp"

#include "apps/memory.hpp"
#include "apps/training_needs.hpp"
#include "runtime/train/agreed.hpp"
#include "runtime/train/model_contents.hpp"
#include "runtime/train/safetensors_model.hpp"

namespace conclave::apps {

namespace {

// Sizes that data give to a run; of a checkpoint they are only what it says. (Of classes, load_encoding has looked.)
void refuse_impossible(const model::DataShape& shape, const train::TrainOptions& options,
                       const std::filesystem::path& file) {
  const bool has_features = options.kind() == model::ModelKind::feature_classifier;
  const auto is_size = [](Index value, Index least) { return value >= least && value <= largest_size; };
  if (is_size(shape.vocabulary, has_features ? 0 : 1) && is_size(shape.features, has_features ? 1 : 0)) {
    return;
  }
  throw InputError(fmt::format("checkpoint '{}' is of a model with vocabulary = {}, features = {}", file.string(),
                               shape.vocabulary, shape.features),
                   "no run writes these: use another checkpoint");
}

}  // namespace

LoadedModel model_of(const Session& session, const OpenedCheckpoint& opened, double eval_capacity_factor,
                     const ComputeOptions& compute, const std::string& exchange) {
  const comm::Communicator& world = session.world;
  LoadedModel loaded;
  loaded.file = opened.file;
  for (const std::string& unknown : adopt_options(opened.header, {}, loaded.options)) {
    if (world.is_root()) fmt::print(stderr, "{}\n", unknown);
  }
  if (eval_capacity_factor >= 0.0) loaded.options.model.router.eval_capacity_factor = eval_capacity_factor;
  train::validate(loaded.options);
  const bool has_library_of_run = has_gemm_backend(loaded.options.compute.gemm);
  apply({compute.threads,
         session.given.contains("gemm") || !has_library_of_run ? compute.gemm : loaded.options.compute.gemm});
  loaded.step = train::integer_of(opened.header, "step", opened.file);
  if (!exchange.empty()) loaded.options.transport.exchange = exchange;
  loaded.transport = std::make_unique<model::Transport>(loaded.options.transport, world);
  model::DataShape shape{.vocabulary = train::integer_of(opened.header, "vocabulary", opened.file)};
  if (loaded.options.task == train::Task::classify) {
    shape.features = train::integer_of(opened.header, "features", opened.file);
    shape.classes = train::integer_of(opened.header, "classes", opened.file);
    loaded.encoding = train::load_encoding(opened.header, opened.file);
  }
  refuse_impossible(shape, loaded.options, opened.file);
  static_cast<void>(refuse_too_much_memory(world, model_memory(loaded.options, shape, *loaded.transport, world)));
  loaded.model = model::make_model<float>(loaded.options.model, shape, loaded.options.seed, loaded.transport->ranks());
  return loaded;
}

LoadedModel load_model(const Session& session, const std::string& path, double eval_capacity_factor,
                       const ComputeOptions& compute, const std::string& exchange) {
  const comm::Communicator& world = session.world;
  if (!train::is_safetensors(path)) {
    const OpenedCheckpoint opened = open_checkpoint(world, path);
    LoadedModel loaded = model_of(session, opened, eval_capacity_factor, compute, exchange);
    train::load_values(opened.file, world, *loaded.model);
    return loaded;
  }
  train::CheckpointContents contents;
  train::agreed(world, [&] { contents = train::read_safetensors_model(path); });
  if (contents.header.config.empty()) {
    throw InputError(fmt::format("'{}' does not tell the options of its model", path),
                     "make a checkpoint of it with the options: conclave import --options FILE");
  }
  LoadedModel loaded = model_of(session, {path, contents.header}, eval_capacity_factor, compute, exchange);
  train::load_values(contents.tensors, path, world, *loaded.model);
  return loaded;
}

model::LanguageModel<float>& LoadedModel::language_model() const {
  auto* language = dynamic_cast<model::LanguageModel<float>*>(model.get());
  if (language != nullptr) return *language;
  throw InputError(fmt::format("{} is a classifier of {} classes, not a language model", file.string(),
                               encoding ? encoding->classes.size() : 0),
                   "use conclave evaluate, or a checkpoint of a run with task = lm");
}

}  // namespace conclave::apps
