// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/train/sample_split.hpp"

namespace conclave::train {
namespace {

// Keeps the draws apart from those of epochs (step 0) and of shifted windows (step 1).
constexpr Index split_draws = 2;

Index part_of(Index count, double fraction) { return static_cast<Index>(fraction * static_cast<double>(count)); }

const DataOptions& checked(const DataOptions& o) {
  for (const auto& [name, value] :
       {std::pair{"validation_fraction", o.validation_fraction}, std::pair{"test_fraction", o.test_fraction}}) {
    if (value >= 0 && value < 1) continue;
    throw InputError(fmt::format("a {} of {}", name, value), "it is at least 0 (nothing is held out) and below 1");
  }
  if (o.validation_fraction + o.test_fraction < 1) return o;
  throw InputError(
      fmt::format("a validation_fraction of {} and a test_fraction of {}", o.validation_fraction, o.test_fraction),
      "together they are below 1, so that something is left to train on");
}

}  // namespace

SampleSplit::SampleSplit(Index num_samples, const DataOptions& options, Index seed)
    : num_samples_(num_samples),
      num_validation_(part_of(num_samples, checked(options).validation_fraction)),
      num_test_(part_of(num_samples, options.test_fraction)),
      order_(num_samples, Random(seed, RandomStream::data_order, 0, split_draws)),
      stream_(count(Split::train), seed) {}

Index SampleSplit::count(Split split) const {
  switch (split) {
    case Split::train:
      return num_samples_ - num_validation_ - num_test_;
    case Split::validation:
      return num_validation_;
    case Split::test:
      return num_test_;
    case Split::all:
      break;
  }
  return num_samples_;
}

Index SampleSplit::item(Split split, Index n) const {
  invariant(n >= 0 && (split == Split::train || n < count(split)), "sample {} of {}", n, count(split));
  const Index num_train = count(Split::train);
  switch (split) {
    case Split::train:
      return order_(stream_.draw(n).item);
    case Split::validation:
      return order_(num_train + n);
    case Split::test:
      return order_(num_train + num_validation_ + n);
    case Split::all:
      break;
  }
  return n;
}

std::vector<char> SampleSplit::in_training() const {
  std::vector<char> is_in(static_cast<std::size_t>(num_samples_), 0);
  for (Index i = 0; i < count(Split::train); ++i) is_in[static_cast<std::size_t>(order_(i))] = 1;
  return is_in;
}

std::string SampleSplit::text() const {
  return fmt::format("{} for training, {} for validation, {} for testing", count(Split::train),
                     count(Split::validation), count(Split::test));
}

}  // namespace conclave::train
