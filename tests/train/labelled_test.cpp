// SPDX-License-Identifier: BSD-3-Clause
// Samples with a class: texts and vectors of features, their parts, and what is refused.
#include "runtime/train/labelled.hpp"

#include "runtime/train/sample_split.hpp"
#include "tests/train/feature_file.hpp"
#include "tests/train/temporary_folder.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <set>

namespace conclave::train {
namespace {

constexpr double nan = std::numeric_limits<double>::quiet_NaN();

Batch batch_of(const Samples& samples, Split split, Index first, Index count) {
  Batch batch;
  samples.read_batch(split, first, count, batch);
  return batch;
}

/// The error's message and hint together.
std::string refusal(const std::function<void()>& work) {
  try {
    work();
  } catch (const InputError& error) {
    EXPECT_FALSE(error.hint().empty()) << error.what();
    return std::string(error.what()) + " | " + error.hint();
  }
  return "accepted";
}

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

TEST(SampleSplit, CutsASeededPermutationIntoPartsWithNothingInCommon) {
  const DataOptions options{.validation_fraction = 0.2, .test_fraction = 0.15};
  for (const Index size : {1, 7, 100, 1001}) {
    const SampleSplit split(size, options, 3);
    std::multiset<Index> all;
    std::set<Index> trained;
    for (Index n = 0; n < split.count(Split::train); ++n) trained.insert(split.item(Split::train, n));
    EXPECT_EQ(std::ssize(trained), split.count(Split::train)) << "an epoch visits each once";
    all.insert(trained.begin(), trained.end());
    for (const Split part : {Split::validation, Split::test}) {
      for (Index n = 0; n < split.count(part); ++n) all.insert(split.item(part, n));
    }
    EXPECT_EQ(std::ssize(all), size);
    EXPECT_EQ(std::ssize(std::set(all.begin(), all.end())), size);
    EXPECT_EQ(split.count(Split::validation), size / 5);
    const std::vector<char> in_training = split.in_training();
    for (Index i = 0; i < size; ++i) EXPECT_EQ(in_training[static_cast<std::size_t>(i)] != 0, trained.contains(i));
    EXPECT_THROW((void)split.item(Split::test, split.count(Split::test)), InvariantError);
  }
  const SampleSplit one(1000, options, 3);
  const SampleSplit other(1000, options, 4);
  Index same = 0;
  for (Index n = 0; n < one.count(Split::validation); ++n) {
    same += one.item(Split::validation, n) == other.item(Split::validation, n) ? 1 : 0;
  }
  EXPECT_LT(same, 10) << "another seed, another split";
}

TEST(SampleSplit, RefusesFractionsThatLeaveNothingToTrainOn) {
  const auto of = [](double validation, double test) {
    return refusal([&] { SampleSplit(10, {.validation_fraction = validation, .test_fraction = test}, 0); });
  };
  EXPECT_TRUE(contains(of(0.5, 0.5), "validation_fraction of 0.5 and a test_fraction of 0.5"));
  EXPECT_TRUE(contains(of(-0.1, 0.5), "validation_fraction of -0.1"));
  EXPECT_TRUE(contains(of(0.1, nan), "test_fraction of nan"));
  EXPECT_EQ(of(0.0, 0.0), "accepted");
}

class LabelledText : public testing::Test {
 protected:
  std::unique_ptr<Samples> read(const std::string& content, Index context = 8, const Encoding* known = nullptr) {
    folder_.write("texts.tsv", content);
    return make_labelled({.data = path(), .validation_fraction = 0, .test_fraction = 0}, context, 1, known);
  }
  std::string error_of(const std::string& content, const Encoding* known = nullptr) {
    return refusal([&] { (void)read(content, 8, known); });
  }
  [[nodiscard]] std::string path() const { return folder_.path("texts.tsv"); }
  TemporaryFolder folder_;
};

TEST_F(LabelledText, SortsItsClassesAndKeepsEveryByteOfAText) {
  const auto samples = read("\xEF\xBB\xBFzoo\tab\tc\r\n\nart\tdefghijklm\nBüro\tx\n\r\nzoo\t no");
  EXPECT_EQ(samples->class_names(), (std::vector<std::string>{"Büro", "art", "zoo"}));
  EXPECT_EQ(samples->shape(), (model::DataShape{256, 0, 3}));
  EXPECT_EQ(samples->tokens_in_sample(), 8);
  ASSERT_EQ(samples->num_sequences(Split::all), 4);
  const Batch batch = batch_of(*samples, Split::all, 0, 4);
  EXPECT_EQ(batch.targets, (std::vector<std::int32_t>{2, 1, 0, 2}));
  EXPECT_EQ(batch.lengths, (std::vector<std::int32_t>{4, 8, 1, 3}));
  const std::string tokens(batch.tokens.begin(), batch.tokens.end());
  EXPECT_EQ(tokens, "ab\tcab\tcdefghijkxxxxxxxx no no n") << "what fills up a text is the text again";
  ASSERT_EQ(samples->notices().size(), 1U);
  EXPECT_TRUE(contains(samples->notices()[0], "1 of 4 texts are longer than the context of 8 bytes"));
}

TEST_F(LabelledText, DrawsTrainingSamplesEndlesslyAndReadsTheSameOnAnyRank) {
  std::string content;
  for (Index i = 0; i < 50; ++i) content += fmt::format("{}\ttext {}\n", i % 3 == 0 ? "a" : "b", i);
  folder_.write("texts.tsv", content);
  const DataOptions options{.data = path()};
  const auto samples = make_labelled(options, 8, 1);
  const auto again = make_labelled(options, 8, 1);
  ASSERT_EQ(samples->num_sequences(Split::train), 40);
  ASSERT_EQ(samples->num_sequences(Split::test), 5);
  const Batch whole = batch_of(*samples, Split::train, 30, 30);
  const Batch part = batch_of(*again, Split::train, 40, 5);
  EXPECT_TRUE(std::equal(part.tokens.begin(), part.tokens.end(), whole.tokens.begin() + 10 * 8));
  EXPECT_EQ(samples->fingerprint(), again->fingerprint());
  EXPECT_NE(samples->fingerprint(), make_labelled({.data = path(), .test_fraction = 0.2}, 8, 1)->fingerprint());
  std::set<std::vector<std::int32_t>> held_out;
  for (const Split split : {Split::validation, Split::test}) {
    for (Index n = 0; n < samples->num_sequences(split); ++n) held_out.insert(batch_of(*samples, split, n, 1).tokens);
  }
  EXPECT_EQ(held_out.size(), 10U);
  for (Index n = 0; n < 80; ++n) EXPECT_FALSE(held_out.contains(batch_of(*samples, Split::train, n, 1).tokens));
}

TEST_F(LabelledText, NamesFileAndLineOfWhatItCannotRead) {
  const std::string ok = "a\tx\nb\ty\n";
  EXPECT_TRUE(contains(error_of(ok + "\nno tab\n"), path() + "' line 4: there is no tab"));
  EXPECT_TRUE(contains(error_of(ok + "\tx\n"), "line 3: the label is empty"));
  EXPECT_TRUE(contains(error_of(ok + "c\t\r\n"), "line 3: the text behind the label 'c' is empty"));
  EXPECT_TRUE(contains(error_of(ok + std::string("c\0d\tx\n", 6)), "line 3: the label has a zero byte"));
  EXPECT_TRUE(contains(error_of("a\tx\na\ty\n"), path() + "' has the label 'a' | a classifier needs two classes"));
  EXPECT_TRUE(contains(error_of("\n\n"), "there is no line in"));
  EXPECT_TRUE(contains(error_of(""), "there is no line in"));
  std::string many;
  for (Index i = 0; i <= max_classes; ++i) many += fmt::format("label {}\tx\n", i);
  EXPECT_TRUE(
      contains(error_of(many), fmt::format("line {0}: 'label {1}' is the {0}th label", max_classes + 1, max_classes)));
  EXPECT_TRUE(contains(refusal([&] { (void)make_labelled({.data = folder_.path("none")}, 8, 1); }), "none"));
  EXPECT_TRUE(contains(refusal([&] { (void)make_labelled({}, 8, 1); }), "task = classify without data"));
}

TEST_F(LabelledText, TakesTheClassesOfACheckpointByTheirNames) {
  CheckpointHeader header;
  const auto trained = read("b\tx\nc\ty\na\tz\n");
  trained->store(header);
  header.integers["classes"] = 3;
  header.integers["features"] = 0;
  const Encoding encoding = load_encoding(header, "some.h5");
  EXPECT_EQ(encoding.classes, trained->class_names());
  const auto others = read("c\tx\nc\ty\n", 8, &encoding);
  EXPECT_EQ(batch_of(*others, Split::all, 0, 2).targets, (std::vector<std::int32_t>{2, 2}));
  EXPECT_TRUE(contains(error_of("c\tx\nd\ty\n", &encoding),
                       path() + "' line 2: the label 'd' is unknown | the model's classes are a, b, c"));
  header.integers.erase("class/b");
  EXPECT_TRUE(contains(refusal([&] { (void)load_encoding(header, "some.h5"); }), "names 2 of its 3 classes"));
  for (const Index classes : {Index{-1}, Index{0}, Index{1} << 62}) {
    header.integers["classes"] = classes;
    EXPECT_TRUE(contains(refusal([&] { (void)load_encoding(header, "some.h5"); }),
                         fmt::format("has classes = {}; there may be 1 to {}", classes, max_classes)));
  }
}

class FeatureVectors : public testing::Test {
 protected:
  std::unique_ptr<Samples> read(const FeatureFile& content, DataOptions options = {}, const Encoding* known = nullptr) {
    write(content, path());
    options.data = path();
    return make_labelled(options, 64, 1, known);
  }
  std::string error_of(const FeatureFile& content, const Encoding* known = nullptr) {
    return refusal([&] { (void)read(content, {}, known); });
  }
  [[nodiscard]] std::string path() const { return folder_.path("data.h5"); }
  TemporaryFolder folder_;
};

TEST_F(FeatureVectors, AreStandardisedByTheTrainingPartAlone) {
  const FeatureFile content = three_classes(300, 1);
  const auto samples = read(content);
  EXPECT_EQ(samples->shape(), (model::DataShape{0, 4, 3}));
  EXPECT_EQ(samples->tokens_in_sample(), 1);
  EXPECT_EQ(samples->class_names(), content.names);
  const Index size = samples->num_sequences(Split::train);
  ASSERT_EQ(size, 240);
  const Batch train = batch_of(*samples, Split::train, 0, size);
  const Batch all = batch_of(*samples, Split::all, 0, 300);
  ASSERT_EQ(train.tokens.size(), 240U);
  for (std::size_t f = 0; f < 4; ++f) {
    double sum = 0.0;
    double squares = 0.0;
    for (std::size_t i = 0; i < 240; ++i) sum += train.features[4 * i + f];
    for (std::size_t i = 0; i < 240; ++i) squares += train.features[4 * i + f] * train.features[4 * i + f];
    EXPECT_NEAR(sum / 240, 0.0, 1e-6);
    EXPECT_NEAR(squares / 240, 1.0, 1e-5);
  }
  CheckpointHeader header;
  samples->store(header);
  header.integers["classes"] = 3;
  header.integers["features"] = 4;
  const Encoding encoding = load_encoding(header, "some.h5");
  for (std::size_t i = 0; i < all.features.size(); ++i) {
    const double expected = (content.x[i] - encoding.mean[i % 4]) / encoding.deviation[i % 4];
    ASSERT_NEAR(all.features[i], expected, 1e-6 * std::max(1.0, std::abs(expected))) << i;
  }
  for (std::size_t i = 0; i < 300; ++i) EXPECT_EQ(all.targets[i], content.labels[i]);
  EXPECT_NEAR(encoding.mean[2], 1000.0, 0.5);
}

TEST_F(FeatureVectors, AreLeftAsTheyAreOnDemandAndConstantOnesNamed) {
  FeatureFile content = three_classes(50, 2);
  for (std::size_t i = 0; i < 50; ++i) content.x[4 * i + 1] = 3.5;
  const auto raw = read(content, {.standardise = false});
  const Batch batch = batch_of(*raw, Split::all, 0, 50);
  for (std::size_t i = 0; i < batch.features.size(); ++i)
    ASSERT_EQ(batch.features[i], static_cast<float>(content.x[i]));
  EXPECT_TRUE(raw->notices().empty());
  const auto scaled = read(content);
  for (const float value : batch_of(*scaled, Split::all, 0, 50).features) ASSERT_TRUE(std::isfinite(value));
  ASSERT_EQ(scaled->notices().size(), 1U);
  EXPECT_TRUE(contains(scaled->notices()[0], "1 of 4 features are the same in every row"));
  EXPECT_NE(raw->fingerprint(), scaled->fingerprint()) << "a run goes on with the scales that it began with";
  EXPECT_NE(scaled->fingerprint(), read(three_classes(50, 3))->fingerprint());
}

TEST_F(FeatureVectors, NameDatasetAndRowOfWhatTheyCannotRead) {
  const FeatureFile good = three_classes(20, 1);
  const auto changed = [&](const std::function<void(FeatureFile&)>& change) {
    FeatureFile bad = good;
    change(bad);
    return error_of(bad);
  };
  EXPECT_TRUE(
      contains(changed([](auto& f) { f.x[4 * 7 + 2] = nan; }), "x of '" + path() + "' row 7: feature 2 is nan"));
  EXPECT_TRUE(
      contains(changed([](auto& f) { f.x[5] = -std::numeric_limits<double>::infinity(); }), "row 1: feature 1"));
  EXPECT_TRUE(contains(changed([](auto& f) { f.labels[3] = -2; }), "label of '" + path() + "' row 3: -2"));
  EXPECT_TRUE(contains(changed([](auto& f) { f.labels[4] = 3; }), "row 4: 3 | class_names names 3 classes"));
  EXPECT_TRUE(contains(changed([](auto& f) { f.labels.pop_back(); }), "has the shape [19] beside x of [20, 4]"));
  EXPECT_TRUE(contains(changed([](auto& f) { std::ranges::fill(f.labels, 1); }), "every row is of class 1"));
  EXPECT_TRUE(contains(changed([](auto& f) { f.names[2] = "same"; }), "name 2 is 'same'"));
  EXPECT_TRUE(contains(changed([](auto& f) {
                         f.names.clear();
                         f.labels[9] = max_classes;
                       }),
                       "row 9: 1024 | classes are below 1024"));
  // Told before the names are compared with one another, which takes the square of their number.
  EXPECT_TRUE(contains(changed([](auto& f) { f.names.assign(max_classes + 1, "same"); }),
                       "class_names of '" + path() + "' names 1025 classes | there may be 1024"));
  const FeatureFile empty;
  EXPECT_TRUE(contains(error_of(empty), "x of '" + path() + "' has the shape [0, 0]"));
  std::filesystem::remove(path());
  Hdf5File file = Hdf5File::create(path());
  file.write<std::int64_t>("/x", {2, 1}, std::vector<std::int64_t>{1, 2});
  file.close();
  const DataOptions options{.data = path()};
  EXPECT_TRUE(contains(refusal([&] { (void)make_labelled(options, 1, 1); }), "there is no dataset label"));
}

TEST_F(FeatureVectors, OfAnotherFileMeanTheSameClassesByName) {
  const auto trained = read(three_classes(200, 1));
  CheckpointHeader header;
  trained->store(header);
  header.integers["classes"] = 3;
  header.integers["features"] = 4;
  const Encoding encoding = load_encoding(header, "some.h5");
  FeatureFile content = three_classes(10, 5);
  const std::vector<std::int64_t> labels = content.labels;
  content.names = {"second", "same", "first"};
  for (std::int64_t& label : content.labels) label = (label + 1) % 3;
  const auto others = read(content, {}, &encoding);
  const Batch batch = batch_of(*others, Split::all, 0, 10);
  for (std::size_t i = 0; i < 10; ++i) EXPECT_EQ(batch.targets[i], labels[i]);
  EXPECT_NEAR(batch.features[2], (content.x[2] - encoding.mean[2]) / encoding.deviation[2], 1e-5);
  content.names[1] = "other";
  EXPECT_TRUE(contains(error_of(content, &encoding), "the class 'other' is unknown"));
  content.names[1] = "same";
  content.features = 2;
  content.labels.resize(20, 1);
  EXPECT_TRUE(contains(error_of(content, &encoding), "has 2 features, the model 4"));
}

}  // namespace
}  // namespace conclave::train
