// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/train/dataset.hpp"

#include "runtime/core/digest.hpp"
#include "runtime/core/error.hpp"
#include "runtime/core/scratch.hpp"
#include "runtime/train/sampler.hpp"
#include "runtime/train/text.hpp"
#include "runtime/train/text_domains.hpp"
#include "runtime/train/text_pairs.hpp"

#include <array>

namespace conclave::train {
namespace {

constexpr Index num_bytes = 256;  // bytes are tokens

// Held-out sequences of the synthetic corpus have numbers of their own: the upper half of all there are.
constexpr Index first_held_out = Corpus::max_sequences / 2;

// That part of `count`, rounded down. Less than count for every fraction below 1: the product rounds below it.
Index part_of(Index count, double fraction) { return static_cast<Index>(fraction * static_cast<double>(count)); }

CorpusOptions checked(const CorpusOptions& options) {
  if (options.sequences < 1 || options.sequences > first_held_out) {
    throw InputError(fmt::format("a corpus of {} sequences", options.sequences),
                     fmt::format("corpus_sequences is from 1 to {}", first_held_out));
  }
  return options;
}

void check_read(const Dataset& data, Split split, Index n, std::size_t num_tokens) {
  invariant(static_cast<Index>(num_tokens) == data.context() + 1, "{} tokens for a context of {}", num_tokens,
            data.context());
  invariant(n >= 0 && (split == Split::train || n < data.num_sequences(split)), "sequence {} of {}", n,
            data.num_sequences(split));
}

class SyntheticData final : public Dataset {
 public:
  SyntheticData(const DataOptions& options, Index context, Index seed);

  [[nodiscard]] Index vocabulary() const override { return num_bytes; }
  [[nodiscard]] Index context() const override { return context_; }
  [[nodiscard]] Index num_sequences(Split split) const override {
    return split == Split::train ? num_train_ : split == Split::validation ? num_held_out_ : 0;
  }
  void read(Split split, Index n, std::span<std::int32_t> tokens) const override {
    check_read(*this, split, n, tokens.size());
    corpus_.generate(number(split, n), tokens);
  }
  [[nodiscard]] std::optional<double> entropy() const override { return corpus_.entropy(); }
  [[nodiscard]] std::vector<std::string> domain_names() const override { return domain_names_; }
  [[nodiscard]] std::optional<Index> domain(Split split, Index n) const override {
    return corpus_.domain(number(split, n));
  }
  [[nodiscard]] std::string description() const override;
  [[nodiscard]] std::uint64_t fingerprint() const override;
  [[nodiscard]] const std::vector<std::string>& notices() const override { return notices_; }

 private:
  [[nodiscard]] Index number(Split split, Index n) const {
    return split == Split::train ? order_.draw(n).item : first_held_out + n;
  }

  Corpus corpus_;
  Index context_;
  Index num_held_out_;
  Index num_train_;
  Sampler order_;
  std::vector<std::string> domain_names_;
  std::vector<std::string> notices_;
};

SyntheticData::SyntheticData(const DataOptions& options, Index context, Index seed)
    : corpus_(checked(options.corpus), seed),
      context_(context),
      num_held_out_(part_of(options.corpus.sequences, options.validation_fraction)),
      num_train_(options.corpus.sequences - num_held_out_),
      order_(num_train_, seed) {
  for (Index d = 0; d < corpus_.domains(); ++d) domain_names_.push_back(fmt::format("{}", d));
  if (options.validation_fraction > 0 && num_held_out_ == 0) {
    notices_.push_back(fmt::format("nothing is held out: {} of {} sequences is less than one",
                                   options.validation_fraction, options.corpus.sequences));
  }
}

std::string SyntheticData::description() const {
  return fmt::format(
      "synthetic corpus: {} domains over {} symbols, entropy {:.4f} nats a token ({:.4f} if the domain is not told), "
      "{} training and {} held-out sequences of {} tokens",
      corpus_.domains(), corpus_.alphabet(), corpus_.entropy(), corpus_.blind_entropy(), num_train_, num_held_out_,
      context_);
}

std::uint64_t SyntheticData::fingerprint() const {
  Digest digest;
  const std::array<Index, 4> sizes = {corpus_.domains(), corpus_.alphabet(), num_train_, num_held_out_};
  digest.add("corpus", 0, std::span<const Index>(sizes));
  for (Index d = 0; d < corpus_.domains(); ++d) {
    for (Index first = 0; first < corpus_.alphabet(); ++first) {
      for (Index second = 0; second < corpus_.alphabet(); ++second) {
        digest.add("successors", (d * corpus_.alphabet() + first) * corpus_.alphabet() + second,
                   corpus_.successors(d, first, second));
      }
    }
  }
  std::array<std::int32_t, 16> tokens{};
  for (Index n = 0; n < 16; ++n) {  // the tables are the same for every order of bytes drawn from them
    corpus_.generate(n, tokens);
    digest.add("bytes", n, std::span<const std::int32_t>(tokens));
  }
  return digest.value();
}

class TextData final : public Dataset {
 public:
  TextData(const DataOptions& options, Index context, Index seed);

  [[nodiscard]] Index vocabulary() const override { return num_bytes; }
  [[nodiscard]] Index context() const override { return context_; }
  [[nodiscard]] Index num_sequences(Split split) const override {
    return split == Split::train ? train_.count() : split == Split::test ? 0 : fixed(split).count();
  }
  void read(Split split, Index n, std::span<std::int32_t> tokens) const override;
  [[nodiscard]] std::vector<std::string> domain_names() const override { return domains_.names(); }
  [[nodiscard]] std::optional<Index> domain(Split split, Index n) const override;
  [[nodiscard]] std::string description() const override;
  [[nodiscard]] std::uint64_t fingerprint() const override {
    return files_.fingerprint() ^
           (static_cast<std::uint64_t>(border_) * 0x9e3779b97f4a7c15U);  // the border is part of it
  }
  [[nodiscard]] const std::vector<std::string>& notices() const override { return notices_; }

 private:
  void check_size(const DataOptions& options) const;
  void notice_short_files();
  // The windows of a part that comes in a fixed order.
  [[nodiscard]] const Windows& fixed(Split split) const { return split == Split::all ? all_ : held_out_; }
  // The bytes of a sequence, [context + 1].
  [[nodiscard]] Range window(Split split, Index n) const;

  TextFiles files_;
  TextDomains domains_;
  Index context_;
  Index border_;  // bytes from here on are held out
  Windows train_;
  Windows held_out_;
  Windows all_;
  std::optional<Sampler> order_;
  std::vector<std::string> notices_;
};

TextData::TextData(const DataOptions& options, Index context, Index seed)
    : files_(options.data),
      domains_(files_, options.data),
      context_(context),
      border_(files_.num_bytes() - part_of(files_.num_bytes(), options.validation_fraction)),
      train_(Windows::shifting(segments(files_, {0, border_}), context, seed)),
      held_out_(Windows::fixed(segments(files_, {border_, files_.num_bytes()}), context)),
      all_(Windows::fixed(segments(files_, {0, files_.num_bytes()}), context)),
      notices_(files_.notices()) {
  check_size(options);
  order_.emplace(train_.count(), seed);
  notice_short_files();
  if (options.validation_fraction > 0 && held_out_.count() == 0) {
    notices_.push_back(
        fmt::format("nothing is held out: the last {} of {} bytes have no run of the {} bytes that a "
                    "context of {} needs",
                    files_.num_bytes() - border_, files_.num_bytes(), context + 1, context));
  }
}

void TextData::check_size(const DataOptions& options) const {
  if (train_.count() > 0) return;
  throw InputError(fmt::format("'{}' is too small to train on: no file of its {} has the {} bytes that a context of {} "
                               "needs among the first {} of {} bytes (the rest is held out: validation_fraction {})",
                               options.data, files_.num_files(), context_ + 1, context_, border_, files_.num_bytes(),
                               options.validation_fraction),
                   "give more text, a smaller context or a smaller validation_fraction");
}

void TextData::notice_short_files() {
  std::vector<std::string> paths;
  for (Index file = 0; file < files_.num_files(); ++file) {
    if (files_.place(file).size() <= context_) paths.push_back(files_.path(file));
  }
  if (paths.empty()) return;
  notices_.push_back(fmt::format("left out: {} file(s) below the {} bytes that a context of {} needs: {}", paths.size(),
                                 context_ + 1, context_, listed(paths)));
}

Range TextData::window(Split split, Index n) const {
  if (split != Split::train) return fixed(split).window(n);
  const Sampler::Draw draw = order_->draw(n);
  return train_.window(draw.item, draw.epoch);
}

void TextData::read(Split split, Index n, std::span<std::int32_t> tokens) const {
  check_read(*this, split, n, tokens.size());
  files_.read(window(split, n).begin, tokens);
}

std::optional<Index> TextData::domain(Split split, Index n) const {
  if (domains_.names().empty()) return std::nullopt;
  return domains_.of_file(files_.file_at(window(split, n).begin));
}

std::string TextData::description() const {
  return fmt::format("text: {} file(s), {} bytes for training in {} windows and {} held out in {} windows of {} tokens",
                     files_.num_files(), border_, train_.count(), files_.num_bytes() - border_, held_out_.count(),
                     context_);
}

}  // namespace

void Dataset::read_batch(Split split, Index first, Index count, Batch& batch) const {
  Scratch scratch;
  const std::span<std::int32_t> sequence = scratch.values<std::int32_t>(context() + 1);
  batch.clear();
  for (Index i = 0; i < count; ++i) {
    read(split, first + i, sequence);
    batch.tokens.insert(batch.tokens.end(), sequence.begin(), sequence.end() - 1);
    batch.targets.insert(batch.targets.end(), sequence.begin() + 1, sequence.end());
    if (const auto of_sequence = domain(split, first + i)) {
      batch.domains.insert(batch.domains.end(), sequence.size() - 1, static_cast<std::int32_t>(*of_sequence));
    }
  }
}

void describe(DataOptions& options, OptionTable& table) {
  table.add("data", options.data,
            "text to train on: a file or a folder of files; empty: a synthetic corpus. To classify: a file of texts, "
            "one label<TAB>text a line, or FILE.h5 with feature vectors x [N, D], label [N] and maybe class_names");
  table.add(
      "data_format", options.data_format,
      "of a language model's data: text to go on with; or pairs, one source<TAB>target a line, of which the target "
      "is learned");
  table.add("validation_fraction", options.validation_fraction,
            "part of the data that is held out for validation, in [0, 1); of text to go on with, its last bytes");
  table.add("test_fraction", options.test_fraction,
            "classification: part of the samples that is kept for a test at the end, in [0, 1)");
  table.add("standardise", options.standardise,
            "feature vectors: bring every feature to mean 0 and deviation 1 over the training part");
  table.add("corpus_domains", options.corpus.domains, "synthetic corpus: hidden domains, each a source of its own");
  table.add("corpus_alphabet", options.corpus.alphabet, "synthetic corpus: distinct bytes");
  table.add("corpus_spread", options.corpus.spread,
            "synthetic corpus: about how many bytes may well follow a pair of bytes; more is harder to predict");
  table.add("corpus_sequences", options.corpus.sequences,
            "synthetic corpus: distinct sequences, the held-out ones among them");
}

std::unique_ptr<Dataset> make_dataset(const DataOptions& options, Index context, Index seed) {
  if (!(options.validation_fraction >= 0 && options.validation_fraction < 1)) {
    throw InputError(fmt::format("a validation_fraction of {}", options.validation_fraction),
                     "it is at least 0 (nothing is held out) and below 1");
  }
  if (context < 1) throw InputError(fmt::format("sequences with a context of {}", context), "the context is 1 or more");
  if (options.data_format == DataFormat::pairs) {
    if (options.data.empty()) {
      throw InputError("data_format = pairs without data", "give --data a file of source<TAB>target lines");
    }
    return std::make_unique<TextPairs>(options, context, seed);
  }
  if (options.data.empty()) return std::make_unique<SyntheticData>(options, context, seed);
  return std::make_unique<TextData>(options, context, seed);
}

}  // namespace conclave::train
