// SPDX-License-Identifier: BSD-3-Clause
// What a task makes of the options, and which it refuses.
#include "runtime/train/options.hpp"

#include <gtest/gtest.h>

#include <functional>

namespace conclave::train {
namespace {

TrainOptions classifier_of(const std::string& data) {
  TrainOptions o;
  o.task = Task::classify;
  o.data.data = data;
  return o;
}

std::string refusal(TrainOptions options, const std::function<void(TrainOptions&)>& change) {
  EXPECT_NO_THROW(validate(options));
  change(options);
  try {
    validate(options);
  } catch (const InputError& error) {
    EXPECT_FALSE(error.hint().empty());
    return error.what();
  }
  return "accepted";
}

TEST(TaskOptions, TheNameOfTheDataSaysWhatIsClassified) {
  EXPECT_EQ(TrainOptions{}.kind(), model::ModelKind::language);
  EXPECT_EQ(classifier_of("a.tsv").kind(), model::ModelKind::text_classifier);
  EXPECT_EQ(classifier_of("a.h5").kind(), model::ModelKind::feature_classifier);
  EXPECT_EQ(classifier_of("a.hdf5").kind(), model::ModelKind::feature_classifier);
  TrainOptions text = TrainOptions{};
  text.data.data = "notes.h5";
  EXPECT_EQ(text.kind(), model::ModelKind::language);
}

TEST(TaskOptions, TheLossIsOverTokensOrSamples) {
  TrainOptions o;
  o.sequences = 10;
  o.model.context = 16;
  EXPECT_EQ(o.tokens_in_step(), 160);
  EXPECT_EQ(o.targets_in_step(), 160);
  o.task = Task::classify;
  EXPECT_EQ(o.tokens_in_step(), 160);
  EXPECT_EQ(o.targets_in_step(), 10);
  o.data.data = "a.h5";
  EXPECT_EQ(o.tokens_in_step(), 10);
  EXPECT_EQ(o.targets_in_step(), 10);
}

TEST(TaskOptions, WithoutMeaningUnderATaskAreRefused) {
  const TrainOptions words;
  EXPECT_EQ(refusal(words, [](auto& o) { o.data.test_fraction = 0.2; }), "test_fraction = 0.2 with task = lm");
  EXPECT_EQ(refusal(words, [](auto& o) { o.data.standardise = false; }), "standardise = no with task = lm on text");
  EXPECT_EQ(refusal(words, [](auto& o) { o.model.fusion = model::Fusion::vote; }), "fusion = vote with task = lm");
  const TrainOptions texts = classifier_of("a.tsv");
  EXPECT_EQ(refusal(texts, [](auto& o) { o.data.data_format = DataFormat::pairs; }),
            "data_format = pairs with task = classify");
  EXPECT_EQ(refusal(texts, [](auto& o) { o.data.standardise = false; }),
            "standardise = no with task = classify on text");
  EXPECT_EQ(refusal(texts, [](auto& o) { o.data.corpus.spread = 2.5; }), "corpus_spread = 2.5 with task = classify");
  EXPECT_EQ(refusal(texts, [](auto& o) { o.data.corpus.domains = 2; }), "corpus_domains = 2 with task = classify");
  const TrainOptions features = classifier_of("a.h5");
  EXPECT_EQ(refusal(features, [](auto& o) { o.data.standardise = false; }), "accepted");
  EXPECT_EQ(refusal(features, [](auto& o) { o.model.context = 8; }), "context = 8 with feature vectors");
}

}  // namespace
}  // namespace conclave::train
