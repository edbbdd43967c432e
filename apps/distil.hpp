// SPDX-License-Identifier: BSD-3-Clause
// `compress --distil`: a dense student of a model with experts.
#pragma once

#include "apps/changed_model.hpp"

namespace conclave::apps {

/// What the student is, and how it learns.
struct StudentOptions {
  bool distil = false;
  Index student_hidden = 0;
  Index student_layers = 0;
  Index distil_steps = 0;
  bool compare_undistilled = false;
  train::DistilOptions loss;
  train::OptimizerOptions optimizer;
};

void describe(StudentOptions& options, OptionSections& sections);

/// InputError for options of a student that are given without --distil.
void refuse_without_distil(const StudentOptions& options, const Session& session);

/// The student's model: the teacher's without experts, each block's feed-forward as large as `student_hidden` says, or
/// as what a token passes in the teacher's, on average over the blocks. InputError for sizes that cannot be, and for a
/// teacher without experts.
[[nodiscard]] model::ModelOptions student_model(const model::ModelOptions& teacher, const StudentOptions& options);

/// Trains the student of `checkpoint` into the folder `out` and, where that is asked for, the same one without the
/// teacher beside it; tells what became of them. Returns the exit code. Collective.
[[nodiscard]] int distil(const std::string& checkpoint, const std::string& out, const StudentOptions& options,
                         const MeasureOptions& measured, const Session& session);

}  // namespace conclave::apps
