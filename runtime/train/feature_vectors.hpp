// SPDX-License-Identifier: BSD-3-Clause
// Vectors of features with a class each, from an HDF5 file:
//   /x           [N, D] float32 or float64
//   /label       [N] integers, 0 or more
//   /class_names [classes] text, optional; without it the classes are called 0, 1, ... up to the largest label
#pragma once

#include "runtime/train/hdf5.hpp"
#include "runtime/train/labelled.hpp"
#include "runtime/train/sample_split.hpp"

namespace conclave::train {

/// The rows of a file, as float32 in memory once on each rank (4 N D bytes). The file is read in blocks of rows, in
/// float64: once to check it and to measure mean and deviation, row by row in the order of the file over the training
/// part; once to take them off. A feature that is constant there is divided by 1.
class FeatureVectors final : public Samples {
 public:
  FeatureVectors(const DataOptions& options, Index seed, const Encoding* known);

  [[nodiscard]] model::DataShape shape() const override {
    return {.features = num_features_, .classes = static_cast<Index>(encoding_.classes.size())};
  }
  [[nodiscard]] Index tokens_in_sample() const override { return 1; }
  [[nodiscard]] Index num_sequences(Split split) const override { return split_->count(split); }
  void read_batch(Split split, Index first, Index count, Batch& batch) const override;
  [[nodiscard]] std::vector<std::string> class_names() const override { return encoding_.classes; }
  [[nodiscard]] std::string description() const override;
  [[nodiscard]] std::uint64_t fingerprint() const override { return fingerprint_; }
  [[nodiscard]] const std::vector<std::string>& notices() const override { return notices_; }
  void store(CheckpointHeader& header) const override;

 private:
  [[nodiscard]] std::string where(const char* dataset) const;
  void check_shapes(const Hdf5File& file);
  void read_labels(const Hdf5File& file, const Encoding* known);
  [[nodiscard]] std::vector<std::string> stored_names(const Hdf5File& file) const;
  template <class Visit>
  void for_each_block(const Hdf5File& file, Visit&& visit) const;
  [[noreturn]] void refuse_value(double value, Index position) const;
  void measure(const Hdf5File& file);
  void read_rows(const Hdf5File& file);

  std::string path_;
  Index num_rows_ = 0;
  Index num_features_ = 0;
  Encoding encoding_;
  std::vector<std::int32_t> labels_;  // [rows]
  std::vector<float> x_;              // [rows, features]
  std::optional<SampleSplit> split_;
  std::uint64_t fingerprint_ = 0;
  std::vector<std::string> notices_;
};

}  // namespace conclave::train
