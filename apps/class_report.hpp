// SPDX-License-Identifier: BSD-3-Clause
// What a classifier takes for what, as text.
#pragma once

#include "runtime/train/confusion.hpp"

#include <string>

namespace conclave::apps {

/// The confusion matrix, a row for each true class and a column for each predicted one; of more than 12 classes the
/// commonest confusions instead. Below it precision, recall and F1 of each class. names: by class.
[[nodiscard]] std::string class_report(const train::Confusion& confusion, const std::vector<std::string>& names);

/// "accuracy 93.33 %, macro F1 0.9325, weighted F1 0.9329", and over how many classes if not over all.
[[nodiscard]] std::string class_summary(const train::Confusion& confusion, double accuracy);

}  // namespace conclave::apps
