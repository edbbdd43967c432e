// SPDX-License-Identifier: BSD-3-Clause
// What a classifier is trained on: samples that each have a class.
#pragma once

#include "runtime/train/dataset.hpp"

#include <map>

namespace conclave::train {

/// How samples become a model's input and output: kept in a checkpoint, so that other data means the same to its model.
struct Encoding {
  std::vector<std::string> classes;  // the names, by number
  std::vector<double> mean;          // [features] taken away from a feature; empty for texts
  std::vector<double> deviation;     // [features] what the rest is divided by
};

/// More classes than this are taken for a file without classes: every evaluation keeps a table of classes x classes.
inline constexpr Index max_classes = 1024;

/// Classes as /state/"class/NAME" = number, scales as /tables/features/mean and deviation, each [1, features].
void store(const Encoding& encoding, CheckpointHeader& header);
/// What store() has put there. InputError, naming the file, if it is not there or incomplete.
[[nodiscard]] Encoding load_encoding(const CheckpointHeader& header, const std::filesystem::path& file);

/// Whether a file's name says that it holds vectors of features: it ends in .h5 or .hdf5.
[[nodiscard]] bool holds_features(const std::string& path);

/// The samples of options.data: texts of up to `context` tokens, or vectors of features. With `known`, classes have the
/// numbers, and features the scales, that it gives; else those that the data gives: names sorted, scales of the
/// training part. InputError for options out of range and for data that cannot be read or is not what it should be.
[[nodiscard]] std::unique_ptr<Samples> make_labelled(const DataOptions& options, Index context, Index seed,
                                                     const Encoding* known = nullptr);

/// Classes by name.
class ClassNumbers {
 public:
  /// names: by number, all different.
  explicit ClassNumbers(const std::vector<std::string>& names);
  /// The number of a name, or -1.
  [[nodiscard]] std::int32_t find(std::string_view name) const;

 private:
  std::map<std::string, std::int32_t, std::less<>> numbers_;
};

/// A sentence on classes that no sample of the training part has, if there are any. counts: [classes].
void notice_untrained(const std::vector<std::string>& names, const std::vector<Index>& counts,
                      std::vector<std::string>& notices);

}  // namespace conclave::train
