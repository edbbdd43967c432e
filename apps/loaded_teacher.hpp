// SPDX-License-Identifier: BSD-3-Clause
// The model that a run learns from.
#pragma once

#include "apps/loaded_model.hpp"
#include "comm/plan/memory_need.hpp"
#include "runtime/train/teacher.hpp"

namespace conclave::apps {

class LoadedTeacher {
 public:
  /// The model of the checkpoint that options.distil names, on these ranks; nothing is dropped in its layers. In the
  /// options its file takes the place of a folder, so that a run which is resumed has the same teacher. InputError on
  /// every rank if there is no such model, or it sees another context. Collective.
  LoadedTeacher(const Session& session, train::TrainOptions& options);

  /// InputError if the data has tokens that the teacher does not know, or lacks domains that its rules name.
  void refuse_unlike(const train::Samples& dataset) const;
  /// What it needs on this rank for such steps.
  [[nodiscard]] plan::MemoryItem memory(const train::TrainOptions& options, const comm::Communicator& world) const;
  /// "the teacher is FILE, step 300: ..."
  [[nodiscard]] std::string text() const;
  [[nodiscard]] train::Teacher& teacher() { return teacher_; }

 private:
  LoadedModel loaded_;
  Index vocabulary_;
  train::DistilOptions distil_;
  train::Teacher teacher_;  // refers to the loaded model
};

}  // namespace conclave::apps
