// SPDX-License-Identifier: BSD-3-Clause
#include "apps/class_report.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace conclave::apps {
namespace {

constexpr Index widest_matrix = 12;  // classes

std::string matrix(const train::Confusion& confusion, const std::vector<std::string>& names) {
  std::string out = "Confusion: a row for each true class, a column for each predicted one\n";
  out += fmt::format("  {:22}", "");
  for (Index p = 0; p < confusion.classes(); ++p) out += fmt::format("{:>8.7}", names[static_cast<std::size_t>(p)]);
  out += "\n";
  for (Index c = 0; c < confusion.classes(); ++c) {
    out += fmt::format("  {:<22.22}", names[static_cast<std::size_t>(c)]);
    for (Index p = 0; p < confusion.classes(); ++p) out += fmt::format("{:8}", confusion.count(c, p));
    out += "\n";
  }
  return out;
}

std::string worst_confusions(const train::Confusion& confusion, const std::vector<std::string>& names) {
  struct Pair {
    Index true_class, predicted, count;
  };
  std::vector<Pair> pairs;
  for (Index c = 0; c < confusion.classes(); ++c) {
    for (Index p = 0; p < confusion.classes(); ++p) {
      if (p != c && confusion.count(c, p) > 0) pairs.push_back({c, p, confusion.count(c, p)});
    }
  }
  if (pairs.empty()) return "No class is taken for another\n";
  std::stable_sort(pairs.begin(), pairs.end(), [](const Pair& a, const Pair& b) { return a.count > b.count; });
  const std::size_t shown = std::min(pairs.size(), static_cast<std::size_t>(widest_matrix));
  std::string out =
      fmt::format("Commonest confusions, {} of {}: samples, true class -> predicted class\n", shown, pairs.size());
  for (std::size_t i = 0; i < shown; ++i) {
    out += fmt::format("{:9}   {} -> {}\n", pairs[i].count, names[static_cast<std::size_t>(pairs[i].true_class)],
                       names[static_cast<std::size_t>(pairs[i].predicted)]);
  }
  return out;
}

}  // namespace

std::string class_report(const train::Confusion& confusion, const std::vector<std::string>& names) {
  std::string out = confusion.classes() > widest_matrix ? worst_confusions(confusion, names) : matrix(confusion, names);
  out += fmt::format("  {:<22}{:>10}{:>10}{:>10}{:>10}\n", "class", "precision", "recall", "F1", "samples");
  for (Index c = 0; c < confusion.classes(); ++c) {
    const std::string& name = names[static_cast<std::size_t>(c)];
    if (!confusion.is_seen(c)) {
      out += fmt::format("  {:<22.22}   neither sampled nor predicted: left out\n", name);
      continue;
    }
    out += fmt::format("  {:<22.22}{:10.4f}{:10.4f}{:10.4f}{:10}\n", name, confusion.precision(c), confusion.recall(c),
                       confusion.f1(c), confusion.samples_of(c));
  }
  return out;
}

std::string class_summary(const train::Confusion& confusion, double accuracy) {
  std::string out = fmt::format("accuracy {:.2f} %, macro F1 {:.4f}, weighted F1 {:.4f}", 100.0 * accuracy,
                                confusion.macro_f1(), confusion.weighted_f1());
  if (confusion.num_seen() < confusion.classes()) {
    out += fmt::format(" (over the {} of {} classes that have samples or predictions)", confusion.num_seen(),
                       confusion.classes());
  }
  return out;
}

}  // namespace conclave::apps
