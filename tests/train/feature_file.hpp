// SPDX-License-Identifier: BSD-3-Clause
// Files of feature vectors for tests.
#pragma once

#include "runtime/core/random.hpp"
#include "runtime/train/hdf5.hpp"

namespace conclave::train {

struct FeatureFile {
  Index features = 0;
  std::vector<double> x;             // [rows, features]
  std::vector<std::int64_t> labels;  // [rows]
  std::vector<std::string> names;    // none: not written
};

/// `rows` samples of three classes around centres of their own, of 4 features with scales from 1 to 1000 that the class
/// does not follow by any single one: it is decided by the signs of two.
[[nodiscard]] inline FeatureFile three_classes(Index rows, Index seed) {
  FeatureFile file;
  file.features = 4;
  const Random random(seed, RandomStream::generate);
  for (Index i = 0; i < rows; ++i) {
    const double a = random.uniform(i, 0) < 0.5 ? -1.0 : 1.0;
    const double b = random.uniform(i, 1) < 0.5 ? -1.0 : 1.0;
    file.labels.push_back(a * b > 0 ? 0 : (a > 0 ? 1 : 2));
    file.x.insert(file.x.end(), {a + 0.25 * random.normal(i, 2), 100.0 * (b + 0.25 * random.normal(i, 3)),
                                 1000.0 + random.normal(i, 4), 7.0 * random.normal(i, 5)});
  }
  file.names = {"same", "first", "second"};
  return file;
}

template <class T = double>
void write(const FeatureFile& content, const std::filesystem::path& path) {
  std::filesystem::remove(path);
  Hdf5File file = Hdf5File::create(path);
  const auto rows = content.features == 0 ? 0 : std::ssize(content.x) / content.features;
  const std::vector<T> x(content.x.begin(), content.x.end());
  file.write<T>("/x", {rows, content.features}, x);
  file.write<std::int64_t>("/label", {std::ssize(content.labels)}, content.labels);
  if (!content.names.empty()) {
    file.write<std::string>("/class_names", {std::ssize(content.names)}, content.names);
  }
  file.close();
}

}  // namespace conclave::train
