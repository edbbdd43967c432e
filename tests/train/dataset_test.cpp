// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/train/dataset.hpp"

#include "runtime/core/error.hpp"
#include "tests/train/temporary_folder.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <set>

namespace conclave::train {
namespace {

using Tokens = std::vector<std::int32_t>;

Tokens tokens_of(const Dataset& data, Split split, Index n) {
  Tokens tokens(data.context() + 1, -1);
  data.read(split, n, tokens);
  return tokens;
}

DataOptions small_corpus() { return {.corpus = {.domains = 3, .alphabet = 10, .sequences = 50}}; }

// What every dataset promises, whatever it is made of.
void expect_promises(const DataOptions& options, Index context) {
  const auto data = make_dataset(options, context, 6);
  const auto again = make_dataset(options, context, 6);
  EXPECT_EQ(data->vocabulary(), 256);
  EXPECT_EQ(data->context(), context);
  const Index size = data->num_sequences(Split::train);
  ASSERT_GT(size, 3);
  ASSERT_GT(data->num_sequences(Split::validation), 0);
  std::vector<Tokens> drawn;
  for (Index n = 0; n < 2 * size; ++n) drawn.push_back(tokens_of(*data, Split::train, n));
  for (const Tokens& tokens : drawn) {
    EXPECT_TRUE(std::all_of(tokens.begin(), tokens.end(), [](auto token) { return 0 <= token && token < 256; }));
  }
  EXPECT_EQ(std::set(drawn.begin(), drawn.begin() + size).size(), static_cast<std::size_t>(size));
  EXPECT_FALSE(std::equal(drawn.begin(), drawn.begin() + size, drawn.begin() + size)) << "epochs have their own order";
  for (Index n = 2 * size - 1; n >= 0; --n) EXPECT_EQ(tokens_of(*again, Split::train, n), drawn[n]);
  EXPECT_EQ(again->fingerprint(), data->fingerprint());
  EXPECT_FALSE(data->description().empty());
  EXPECT_EQ(data->description().find('\n'), std::string::npos);

  Tokens wrong(context);
  EXPECT_THROW(data->read(Split::train, 0, wrong), InvariantError);
  EXPECT_THROW((void)tokens_of(*data, Split::train, -1), InvariantError);
  EXPECT_THROW((void)tokens_of(*data, Split::validation, data->num_sequences(Split::validation)), InvariantError);
}

std::string error_of(const DataOptions& options, Index context) {
  try {
    (void)make_dataset(options, context, 0);
  } catch (const InputError& error) {
    EXPECT_FALSE(error.hint().empty());
    return error.what();
  }
  return "no error";
}

TEST(Dataset, SyntheticKeepsThePromises) {
  expect_promises(small_corpus(), 16);
  DataOptions one_byte = small_corpus();
  one_byte.corpus.sequences = 10;
  EXPECT_EQ(tokens_of(*make_dataset(one_byte, 1, 0), Split::train, 0).size(), 2U);
}

TEST(Dataset, TextKeepsThePromises) {
  const TemporaryFolder folder;
  folder.write("a", random_text(2000, 1));
  folder.write("b", random_text(1000, 2));
  expect_promises({.data = folder.path()}, 16);
}

TEST(Dataset, SyntheticKnowsEntropyAndDomains) {
  const DataOptions options = small_corpus();
  const auto data = make_dataset(options, 20, 4);
  const Corpus corpus(options.corpus, 4);
  ASSERT_TRUE(data->entropy().has_value());
  EXPECT_EQ(*data->entropy(), corpus.entropy());
  EXPECT_EQ(data->num_domains(), 3);
  EXPECT_EQ(data->num_sequences(Split::train), 45);
  EXPECT_EQ(data->num_sequences(Split::validation), 5);
  // The domain that is told is the domain of the sequence that is read.
  std::map<Tokens, Index> known;
  for (Index number = 0; number < 45; ++number) {
    Tokens tokens(21);
    corpus.generate(number, tokens);
    known[tokens] = corpus.domain(number);
  }
  std::set<Index> domains;
  for (Index n = 0; n < 90; ++n) {
    const auto domain = data->domain(Split::train, n);
    ASSERT_TRUE(domain.has_value());
    const auto found = known.find(tokens_of(*data, Split::train, n));
    ASSERT_NE(found, known.end());
    EXPECT_EQ(found->second, *domain);
    domains.insert(*domain);
  }
  EXPECT_EQ(domains.size(), 3U);
  for (Index n = 0; n < 5; ++n) {
    EXPECT_EQ(known.count(tokens_of(*data, Split::validation, n)), 0U) << "held-out sequences are no training ones";
    EXPECT_TRUE(data->domain(Split::validation, n).has_value());
  }
  EXPECT_EQ(data->vocabulary(), 256);
}

TEST(Dataset, TextKnowsNeither) {
  const TemporaryFolder folder;
  folder.write("a", random_text(500, 1));
  const auto data = make_dataset({.data = folder.path("a")}, 8, 0);
  EXPECT_FALSE(data->entropy().has_value());
  EXPECT_FALSE(data->num_domains().has_value());
  EXPECT_FALSE(data->domain(Split::train, 0).has_value());
}

// Each byte of the text names its own place (three digits of base 200), so that a window tells where it is from.
TEST(Dataset, HeldOutTextIsNeverTrainedOn) {
  const TemporaryFolder folder;
  std::string text;
  for (Index i = 0; i < 1000; ++i) {
    text.push_back(static_cast<char>(1 + i % 200));
    text.push_back(static_cast<char>(1 + i / 200));
    text.push_back(static_cast<char>(201));
  }
  folder.write("a", text);
  const auto data = make_dataset({.data = folder.path("a"), .validation_fraction = 0.2505}, 6, 1);
  const auto begin_of = [&](const Tokens& tokens) {
    const std::string window(tokens.begin(), tokens.end());
    const auto place = text.find(window);
    EXPECT_NE(place, std::string::npos);
    EXPECT_EQ(text.find(window, place + 1), std::string::npos) << "a window stands for one place";
    return static_cast<Index>(place);
  };
  const Index size = data->num_sequences(Split::train);
  EXPECT_EQ(size, 2249 / 6 - 1);
  std::set<Index> alignments;
  std::set<Index> reached;
  for (Index n = 0; n < 40 * size; ++n) {
    const Index begin = begin_of(tokens_of(*data, Split::train, n));
    EXPECT_LE(begin + 7, 2249);
    alignments.insert(begin % 6);
    for (Index i = begin; i < begin + 7; ++i) reached.insert(i);
  }
  EXPECT_EQ(alignments.size(), 6U);
  EXPECT_EQ(reached.size(), 2249U) << "over the epochs every byte is trained on";
  ASSERT_EQ(data->num_sequences(Split::validation), (751 - 1) / 6);
  for (Index n = 0; n < data->num_sequences(Split::validation); ++n) {
    EXPECT_EQ(begin_of(tokens_of(*data, Split::validation, n)), 2249 + 6 * n);
  }
}

TEST(Dataset, NothingHeldOutIsLegal) {
  const TemporaryFolder folder;
  folder.write("a", random_text(100, 1));
  DataOptions text{.data = folder.path("a"), .validation_fraction = 0};
  DataOptions corpus = small_corpus();
  corpus.validation_fraction = 0;
  for (const DataOptions& options : {text, corpus}) {
    const auto data = make_dataset(options, 9, 0);
    EXPECT_EQ(data->num_sequences(Split::validation), 0);
    EXPECT_TRUE(data->notices().empty());
    EXPECT_THROW((void)tokens_of(*data, Split::validation, 0), InvariantError);
  }
  EXPECT_EQ(make_dataset(corpus, 9, 0)->num_sequences(Split::train), 50);
  EXPECT_EQ(make_dataset(text, 9, 0)->num_sequences(Split::train), 10);
}

TEST(Dataset, SaysSoWhereTooLittleIsLeftToHoldOut) {
  const TemporaryFolder folder;
  folder.write("a", random_text(100, 1));
  DataOptions corpus = small_corpus();
  corpus.corpus.sequences = 1;
  corpus.validation_fraction = std::nextafter(1.0, 0.0);
  const auto text_data = make_dataset({.data = folder.path("a")}, 10, 0);
  const auto corpus_data = make_dataset(corpus, 10, 0);
  for (const Dataset* data : {text_data.get(), corpus_data.get()}) {
    EXPECT_GT(data->num_sequences(Split::train), 0);
    EXPECT_EQ(data->num_sequences(Split::validation), 0);
    ASSERT_EQ(data->notices().size(), 1U);
    EXPECT_NE(data->notices()[0].find("nothing is held out"), std::string::npos);
  }
}

TEST(Dataset, NamesFilesThatAreTooShort) {
  const TemporaryFolder folder;
  folder.write("a_short", random_text(32, 1));
  folder.write("b_long", random_text(33, 2));
  folder.write("c_empty", "");
  const auto data = make_dataset({.data = folder.path(), .validation_fraction = 0}, 32, 0);
  EXPECT_EQ(data->num_sequences(Split::train), 1);
  ASSERT_EQ(data->notices().size(), 2U);
  EXPECT_NE(data->notices()[1].find("a_short"), std::string::npos);
  EXPECT_EQ(data->notices()[1].find("b_long"), std::string::npos);
  const Tokens only = tokens_of(*data, Split::train, 0);
  EXPECT_EQ(std::string(only.begin(), only.end()), random_text(33, 2));
  EXPECT_EQ(tokens_of(*data, Split::train, 9), only);
}

TEST(Dataset, RefusesTooLittleText) {
  const TemporaryFolder folder;
  folder.write("a", random_text(33, 1));
  const std::string message = error_of({.data = folder.path("a")}, 32);
  for (const char* part : {"33", "32", "30", "0.1"}) EXPECT_NE(message.find(part), std::string::npos) << message;
  EXPECT_NE(error_of({.data = folder.path("missing")}, 32).find("missing"), std::string::npos);
}

TEST(Dataset, RefusesOptionsOutOfRange) {
  for (const double fraction : {-0.1, 1.0, 1.5, std::numeric_limits<double>::quiet_NaN()}) {
    EXPECT_NE(error_of({.validation_fraction = fraction}, 8).find(fmt::format("{}", fraction)), std::string::npos);
  }
  EXPECT_NE(error_of({.corpus = {.domains = -2}}, 8).find("-2"), std::string::npos);
  EXPECT_NE(error_of({.corpus = {.sequences = 0}}, 8).find('0'), std::string::npos);
  EXPECT_NE(error_of({.corpus = {.sequences = -5}}, 8).find("-5"), std::string::npos);
  EXPECT_NE(error_of({.corpus = {.sequences = (Index{1} << 31) + 1}}, 8).find("2147483649"), std::string::npos);
  EXPECT_NE(error_of({}, 0).find('0'), std::string::npos);
}

TEST(Dataset, FingerprintsOfCorporaDiffer) {
  const auto fingerprint = [](const DataOptions& options, Index seed) {
    return make_dataset(options, 8, seed)->fingerprint();
  };
  const DataOptions options = small_corpus();
  DataOptions spread = options;
  spread.corpus.spread = 2;
  DataOptions held_out = options;
  held_out.validation_fraction = 0.2;
  const std::set<std::uint64_t> all = {fingerprint(options, 1), fingerprint(options, 2), fingerprint(spread, 1),
                                       fingerprint(held_out, 1)};
  EXPECT_EQ(all.size(), 4U);
}

TEST(Dataset, OptionsAreDescribed) {
  DataOptions options;
  OptionTable table;
  describe(options, table);
  table.assign("data", "books");
  table.assign("validation_fraction", "0.25");
  table.assign("corpus_domains", "8");
  table.assign("corpus_alphabet", "20");
  table.assign("corpus_spread", "2.5");
  table.assign("corpus_sequences", "77");
  EXPECT_EQ(options.data, "books");
  EXPECT_EQ(options.validation_fraction, 0.25);
  EXPECT_EQ(options.corpus.domains, 8);
  EXPECT_EQ(options.corpus.alphabet, 20);
  EXPECT_EQ(options.corpus.spread, 2.5);
  EXPECT_EQ(options.corpus.sequences, 77);
}

}  // namespace
}  // namespace conclave::train
