// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/train/feature_vectors.hpp"

#include "runtime/core/digest.hpp"
#include "runtime/train/text.hpp"

#include <algorithm>
#include <cmath>

namespace conclave::train {
namespace {

constexpr const char* layout = "the file has x [N, D] of float32 or float64 and label [N] of integers";

}  // namespace

FeatureVectors::FeatureVectors(const DataOptions& options, Index seed, const Encoding* known) : path_(options.data) {
  const Hdf5File file = Hdf5File::open(path_);
  check_shapes(file);
  read_labels(file, known);
  split_.emplace(num_rows_, options, seed);
  const auto features = static_cast<std::size_t>(num_features_);
  if (known != nullptr) {
    if (known->mean.size() != features) {
      throw InputError(fmt::format("{} has {} features, the model {}", where("x"), num_features_, known->mean.size()),
                       "give a file with the features that the model was trained on");
    }
    encoding_.mean = known->mean;
    encoding_.deviation = known->deviation;
  } else {
    encoding_.mean.assign(features, 0.0);
    encoding_.deviation.assign(features, 1.0);
    if (options.standardise) measure(file);
    std::vector<Index> counts(encoding_.classes.size(), 0);
    const std::vector<char> in_training = split_->in_training();
    for (std::size_t i = 0; i < labels_.size(); ++i) counts[static_cast<std::size_t>(labels_[i])] += in_training[i];
    notice_untrained(encoding_.classes, counts, notices_);
  }
  read_rows(file);
}

std::string FeatureVectors::where(const char* dataset) const { return fmt::format("{} of '{}'", dataset, path_); }

void FeatureVectors::check_shapes(const Hdf5File& file) {
  for (const char* name : {"x", "label"}) {
    if (!file.exists(fmt::format("/{}", name))) {
      throw InputError(fmt::format("there is no dataset {} in '{}'", name, path_), layout);
    }
  }
  const Hdf5Type type = file.type("/x");
  if (type != Hdf5Type::float32 && type != Hdf5Type::float64) {
    throw InputError(fmt::format("{} holds {}", where("x"), name_of(type)), layout);
  }
  const std::vector<Index> x = file.shape("/x");
  const std::vector<Index> label = file.shape("/label");
  if (x.size() != 2 || x[0] < 1 || x[1] < 1 || x[1] > largest_size) {
    throw InputError(fmt::format("{} has the shape [{}]", where("x"), fmt::join(x, ", ")),
                     fmt::format("it is [N, D], a row of features for each sample, D at most {}", largest_size));
  }
  if (label.size() != 1 || label[0] != x[0]) {
    throw InputError(fmt::format("{} has the shape [{}] beside x of [{}]", where("label"), fmt::join(label, ", "),
                                 fmt::join(x, ", ")),
                     "it is [N], a class for each row of x");
  }
  num_rows_ = x[0];
  num_features_ = x[1];
}

std::vector<std::string> FeatureVectors::stored_names(const Hdf5File& file) const {
  if (!file.exists("/class_names")) return {};
  const std::vector<Index> shape = file.shape("/class_names");
  if (shape.size() != 1) {
    throw InputError(fmt::format("{} has the shape [{}]", where("class_names"), fmt::join(shape, ", ")),
                     "it is a list of names, one for each class");
  }
  if (shape[0] > max_classes) {
    throw InputError(fmt::format("{} names {} classes", where("class_names"), shape[0]),
                     fmt::format("there may be {}", max_classes));
  }
  std::vector<std::string> names = file.read<std::string>("/class_names");
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (!names[i].empty() && std::find(names.begin(), names.begin() + static_cast<std::ptrdiff_t>(i), names[i]) ==
                                 names.begin() + static_cast<std::ptrdiff_t>(i)) {
      continue;
    }
    throw InputError(fmt::format("{}: name {} is '{}'", where("class_names"), i, names[i]),
                     "every class has a name, and no two the same");
  }
  return names;
}

void FeatureVectors::read_labels(const Hdf5File& file, const Encoding* known) {
  const auto stored = file.read<std::int64_t>("/label");
  const auto refuse = [&](std::size_t row, const std::string& what, const std::string& hint) {
    throw InputError(fmt::format("{} row {}: {}", where("label"), row, what), hint);
  };
  std::vector<std::string> names = stored_names(file);
  const auto [least, most] = std::minmax_element(stored.begin(), stored.end());
  const Index limit = names.empty() ? max_classes : std::ssize(names);
  if (*least < 0)
    refuse(static_cast<std::size_t>(least - stored.begin()), fmt::format("{}", *least), "classes are 0 or more");
  if (*most >= limit) {
    refuse(static_cast<std::size_t>(most - stored.begin()), fmt::format("{}", *most),
           names.empty() ? fmt::format("classes are below {}", max_classes)
                         : fmt::format("class_names names {} classes", names.size()));
  }
  for (Index c = std::ssize(names); c <= *most; ++c) names.push_back(fmt::format("{}", c));
  if (known == nullptr && *least == *most) {
    throw InputError(fmt::format("{}: every row is of class {}", where("label"), *most),
                     "a classifier needs two classes or more");
  }
  encoding_.classes = known == nullptr ? names : known->classes;
  const ClassNumbers numbers(encoding_.classes);
  for (std::size_t row = 0; row < stored.size(); ++row) {
    const std::string& name = names[static_cast<std::size_t>(stored[row])];
    labels_.push_back(numbers.find(name));
    if (labels_.back() >= 0) continue;
    refuse(row, fmt::format("the class '{}' is unknown", name),
           fmt::format("the model's classes are {}", listed(encoding_.classes)));
  }
}

void FeatureVectors::refuse_value(double value, Index position) const {
  throw InputError(
      fmt::format("{} row {}: feature {} is {}", where("x"), position / num_features_, position % num_features_, value),
      "features are finite numbers that float32 can hold");
}

// Calls visit(first row, the rows' values [rows, features]) for the whole file, in order.
template <class Visit>
void FeatureVectors::for_each_block(const Hdf5File& file, Visit&& visit) const {
  constexpr Index block_values = Index{1} << 18;
  const Index in_block = std::max<Index>(1, block_values / num_features_);
  std::vector<double> values(static_cast<std::size_t>(std::min(in_block, num_rows_) * num_features_));
  for (Index first = 0; first < num_rows_; first += in_block) {
    const Index end = std::min(first + in_block, num_rows_);
    const Range range{first * num_features_, end * num_features_};
    file.read_range<double>("/x", range, values.data());
    for (Index i = 0; i < range.size(); ++i) {
      const double value = values[static_cast<std::size_t>(i)];
      if (!std::isfinite(value)) refuse_value(value, range.begin + i);
    }
    visit(first, ConstMatrixView<double>{values.data(), end - first, num_features_, num_features_});
  }
}

// Mean and population deviation of the training rows, by Welford's recurrence in the order of the file:
//   m_n = m_{n-1} + (x - m_{n-1}) / n,   s_n = s_{n-1} + (x - m_{n-1}) (x - m_n),   deviation = sqrt(s_n / n)
void FeatureVectors::measure(const Hdf5File& file) {
  const std::vector<char> in_training = split_->in_training();
  std::vector<double> squares(encoding_.mean.size(), 0.0);
  Index count = 0;
  for_each_block(file, [&](Index first, ConstMatrixView<double> rows) {
    for (Index i = 0; i < rows.rows; ++i) {
      if (in_training[static_cast<std::size_t>(first + i)] == 0) continue;
      ++count;
      const auto row = rows.row(i);
      for (std::size_t f = 0; f < row.size(); ++f) {
        const double before = row[f] - encoding_.mean[f];
        encoding_.mean[f] += before / static_cast<double>(count);
        squares[f] += before * (row[f] - encoding_.mean[f]);
      }
    }
  });
  Index num_constant = 0;
  for (std::size_t f = 0; f < squares.size(); ++f) {
    const double deviation = std::sqrt(squares[f] / static_cast<double>(count));
    num_constant += deviation == 0.0 ? 1 : 0;
    encoding_.deviation[f] = deviation == 0.0 ? 1.0 : deviation;
  }
  if (num_constant == 0) return;
  notices_.push_back(
      fmt::format("{} of {} features are the same in every row of the training part", num_constant, num_features_));
}

void FeatureVectors::read_rows(const Hdf5File& file) {
  Digest digest;
  const std::array<Index, 4> sizes{num_features_, split_->count(Split::train), split_->count(Split::validation),
                                   split_->count(Split::test)};
  digest.add("sizes", 0, std::span<const Index>(sizes));
  digest.add("labels", 0, std::span<const std::int32_t>(labels_));
  digest.add("mean", 0, std::span<const double>(encoding_.mean));
  digest.add("deviation", 0, std::span<const double>(encoding_.deviation));
  x_.reserve(static_cast<std::size_t>(num_rows_ * num_features_));
  for_each_block(file, [&](Index first, ConstMatrixView<double> rows) {
    digest.add("x", first, rows.flat());
    for (Index i = 0; i < rows.rows; ++i) {
      const auto row = rows.row(i);
      for (std::size_t f = 0; f < row.size(); ++f) {
        x_.push_back(static_cast<float>((row[f] - encoding_.mean[f]) / encoding_.deviation[f]));
        if (!std::isfinite(x_.back())) refuse_value(row[f], (first + i) * num_features_ + static_cast<Index>(f));
      }
    }
  });
  fingerprint_ = digest.value();
}

void FeatureVectors::read_batch(Split split, Index first, Index count, Batch& batch) const {
  batch.clear();
  batch.num_features = num_features_;
  batch.tokens.assign(static_cast<std::size_t>(count), 0);
  for (Index i = 0; i < count; ++i) {
    const Index row = split_->item(split, first + i);
    const auto begin = x_.begin() + row * num_features_;
    batch.features.insert(batch.features.end(), begin, begin + num_features_);
    batch.targets.push_back(labels_[static_cast<std::size_t>(row)]);
  }
}

std::string FeatureVectors::description() const {
  return fmt::format("feature vectors: {} of {} features in {} classes, {}", num_rows_, num_features_,
                     encoding_.classes.size(), split_->text());
}

void FeatureVectors::store(CheckpointHeader& header) const { train::store(encoding_, header); }

}  // namespace conclave::train
