// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/train/labelled.hpp"

#include "runtime/train/feature_vectors.hpp"
#include "runtime/train/labelled_text.hpp"
#include "runtime/train/text.hpp"

namespace conclave::train {
namespace {

constexpr std::string_view class_prefix = "class/";

NumberTable one_row(const std::vector<double>& values) { return {1, static_cast<Index>(values.size()), values}; }

}  // namespace

void store(const Encoding& encoding, CheckpointHeader& header) {
  for (std::size_t c = 0; c < encoding.classes.size(); ++c) {
    header.integers[std::string(class_prefix) + encoding.classes[c]] = static_cast<std::int64_t>(c);
  }
  if (encoding.mean.empty()) return;
  header.tables["features/mean"] = one_row(encoding.mean);
  header.tables["features/deviation"] = one_row(encoding.deviation);
}

Encoding load_encoding(const CheckpointHeader& header, const std::filesystem::path& file) {
  const Index classes = integer_of(header, "classes", file);
  if (classes < 1 || classes > max_classes) {
    throw InputError(
        fmt::format("checkpoint '{}' has classes = {}; there may be 1 to {}", file.string(), classes, max_classes),
        "use another checkpoint");
  }
  Encoding encoding;
  encoding.classes.resize(static_cast<std::size_t>(classes));
  std::size_t found = 0;
  for (const auto& [name, number] : header.integers) {
    if (!name.starts_with(class_prefix)) continue;
    if (number < 0 || number >= std::ssize(encoding.classes)) continue;
    encoding.classes[static_cast<std::size_t>(number)] = name.substr(class_prefix.size());
    ++found;
  }
  if (found != encoding.classes.size()) {
    throw InputError(
        fmt::format("checkpoint '{}' names {} of its {} classes", file.string(), found, encoding.classes.size()),
        "use another checkpoint");
  }
  const auto features = static_cast<std::size_t>(integer_of(header, "features", file));
  if (features == 0) return encoding;
  for (auto& [name, values] :
       {std::pair<std::string, std::vector<double>&>{"features/mean", encoding.mean},
        std::pair<std::string, std::vector<double>&>{"features/deviation", encoding.deviation}}) {
    const auto table = header.tables.find(name);
    if (table == header.tables.end() || table->second.values.size() != features) {
      throw InputError(fmt::format("checkpoint '{}' lacks the {} of its {} features", file.string(), name, features),
                       "use another checkpoint");
    }
    values = table->second.values;
  }
  return encoding;
}

bool holds_features(const std::string& path) { return path.ends_with(".h5") || path.ends_with(".hdf5"); }

std::unique_ptr<Samples> make_labelled(const DataOptions& options, Index context, Index seed, const Encoding* known) {
  if (options.data.empty()) {
    throw InputError("task = classify without data",
                     "give --data a file of texts, one label<TAB>text a line, or an .h5 file with x and label");
  }
  if (holds_features(options.data)) return std::make_unique<FeatureVectors>(options, seed, known);
  return std::make_unique<LabelledText>(options, context, seed, known);
}

ClassNumbers::ClassNumbers(const std::vector<std::string>& names) {
  for (std::size_t c = 0; c < names.size(); ++c) numbers_[names[c]] = static_cast<std::int32_t>(c);
}

std::int32_t ClassNumbers::find(std::string_view name) const {
  const auto found = numbers_.find(name);
  return found == numbers_.end() ? -1 : found->second;
}

void notice_untrained(const std::vector<std::string>& names, const std::vector<Index>& counts,
                      std::vector<std::string>& notices) {
  std::vector<std::string> missing;
  for (std::size_t c = 0; c < names.size(); ++c) {
    if (counts[c] == 0) missing.push_back(names[c]);
  }
  if (missing.empty()) return;
  notices.push_back(fmt::format("{} of {} classes have no sample in the training part: {}", missing.size(),
                                names.size(), listed(missing)));
}

}  // namespace conclave::train
