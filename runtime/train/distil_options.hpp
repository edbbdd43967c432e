// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "runtime/core/options.hpp"

namespace conclave::train {

/// A run whose model learns from another one, beside the data: loss = (1 - distil_weight) cross entropy of the targets
/// + distil_weight temperature^2 KL(teacher || student), both softened by the temperature (Hinton, Vinyals & Dean
/// 2015).
struct DistilOptions {
  std::string teacher;          // a checkpoint; empty: none
  double distil_weight = 0.25;  // as dense models learn from sparse ones in Fedus, Zoph & Shazeer 2022, section 4.2
  double temperature = 2.0;

  [[nodiscard]] bool has_teacher() const { return !teacher.empty(); }
};

/// How a student minds its teacher, without the teacher's name.
void describe_loss(DistilOptions& options, OptionTable& table);
void describe(DistilOptions& options, OptionTable& table);

/// InputError for values out of range, and for options that nothing would read.
void validate(const DistilOptions& options);

/// InputError if there is a teacher, `why` it has no place here.
void refuse_teacher(const DistilOptions& options, std::string_view why);

}  // namespace conclave::train
