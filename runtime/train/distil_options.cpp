// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/train/distil_options.hpp"

#include <cmath>

namespace conclave::train {

void describe_loss(DistilOptions& o, OptionTable& table) {
  table.add("distil_weight", o.distil_weight,
            "of the teacher in the loss, 0 to 1: (1 - w) cross entropy + w temperature^2 KL(teacher, student)");
  table.add("temperature", o.temperature,
            "that both models' logits are divided by before they are compared: above 1 unlikely tokens count more");
}

void describe(DistilOptions& o, OptionTable& table) {
  table.add("teacher", o.teacher,
            "task = lm: a checkpoint of a model whose distributions are learnt from beside the data; it routes as in "
            "generation: nothing is dropped, nothing drawn");
  describe_loss(o, table);
}

void validate(const DistilOptions& o) {
  if (!(o.distil_weight >= 0.0 && o.distil_weight <= 1.0)) {
    throw InputError(fmt::format("distil_weight = {}", o.distil_weight),
                     "give a part from 0 (the data alone) to 1 (the teacher alone)");
  }
  if (!(o.temperature > 0.0) || !std::isfinite(o.temperature)) {
    throw InputError(fmt::format("temperature = {}", o.temperature), "give a number above 0, such as 2");
  }
  const DistilOptions defaults;
  if (o.has_teacher() || (o.distil_weight == defaults.distil_weight && o.temperature == defaults.temperature)) return;
  throw InputError(
      fmt::format("distil_weight = {} and temperature = {} without teacher", o.distil_weight, o.temperature),
      "they say how a teacher is minded: give --teacher a checkpoint, or leave them out");
}

void refuse_teacher(const DistilOptions& o, std::string_view why) {
  if (!o.has_teacher()) return;
  throw InputError(fmt::format("teacher = {}: {}", o.teacher, why), "give --teacher '', or another configuration");
}

}  // namespace conclave::train
