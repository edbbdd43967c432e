// SPDX-License-Identifier: BSD-3-Clause
#include "apps/loaded_teacher.hpp"

#include "apps/router_options.hpp"
#include "apps/training_needs.hpp"

namespace conclave::apps {
namespace {

LoadedModel load(const Session& session, train::TrainOptions& options) {
  constexpr double nothing_dropped = 0.0;
  LoadedModel loaded =
      load_model(session, options.distil.teacher, nothing_dropped, options.compute, options.transport.exchange);
  if (loaded.options.model.context != options.model.context) {
    throw InputError(
        fmt::format("context = {} with a teacher of context {}", options.model.context, loaded.options.model.context),
        "a student sees what its teacher sees: give it the same context");
  }
  options.distil.teacher = loaded.file.string();
  return loaded;
}

Index vocabulary_of(const model::LanguageModel<float>& model) {
  for (const ParameterEntry& entry : model.replicated().entries()) {
    if (entry.name == "embedding") return entry.shape.front();
  }
  invariant(false, "a language model of {} tensors without an embedding", model.replicated().entries().size());
  return 0;
}

}  // namespace

LoadedTeacher::LoadedTeacher(const Session& session, train::TrainOptions& options)
    : loaded_(load(session, options)),
      vocabulary_(vocabulary_of(loaded_.language_model())),
      distil_(options.distil),
      teacher_(loaded_.language_model(), options.distil) {}

void LoadedTeacher::refuse_unlike(const train::Samples& dataset) const {
  if (dataset.shape().vocabulary != vocabulary_) {
    throw InputError(fmt::format("a teacher of {} tokens for data of {}: {}", vocabulary_, dataset.shape().vocabulary,
                                 dataset.description()),
                     "student and teacher have the same tokens: give other data, or another teacher");
  }
  refuse_unknown_domains(loaded_.options.model, dataset);
}

plan::MemoryItem LoadedTeacher::memory(const train::TrainOptions& options, const comm::Communicator& world) const {
  train::TrainOptions own = options;  // its steps are the student's
  own.model = loaded_.options.model;
  return {"the teacher", plan::total_bytes(model_memory(own, {.vocabulary = vocabulary_}, *loaded_.transport, world))};
}

std::string LoadedTeacher::text() const {
  return fmt::format(
      "the teacher is {}, step {}; the loss of steps is {} x cross entropy of the data + {} x {}^2 x KL(teacher, "
      "student) at temperature {}",
      loaded_.file.string(), loaded_.step, 1.0 - distil_.distil_weight, distil_.distil_weight, distil_.temperature,
      distil_.temperature);
}

}  // namespace conclave::apps
