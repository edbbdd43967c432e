// SPDX-License-Identifier: BSD-3-Clause
// Classifiers from the command line: trained on several numbers of ranks, cut, resumed, evaluated on other data.
#include "tests/apps/program.hpp"
#include "tests/train/feature_file.hpp"
#include "tests/train/temporary_folder.hpp"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <fstream>

namespace conclave {
namespace {

using test::conclave;
using test::count;
using test::digest_of;
using test::on_ranks;
using test::Outcome;
using train::FeatureFile;
using train::TemporaryFolder;

void expect_success(const Outcome& outcome) { ASSERT_EQ(outcome.exit_code, 0) << outcome.output; }

void expect_refusal(const Outcome& outcome, const std::string& text) {
  EXPECT_NE(outcome.exit_code, 0);
  EXPECT_NE(outcome.exit_code, 124) << "it hung";
  EXPECT_GE(count(outcome.output, text), 1) << outcome.output;
}

// The last record of a kind.
nlohmann::json last_record(const std::string& folder, const std::string& kind) {
  std::ifstream file(folder + "/metrics.jsonl");
  nlohmann::json last;
  for (std::string line; std::getline(file, line);) {
    const auto record = nlohmann::json::parse(line);
    if (record["kind"] == kind) last = record;
  }
  return last;
}

// The line that begins with these words.
std::string line_of(const std::string& text, const std::string& begin) {
  const auto at = text.find(begin);
  return at == std::string::npos ? "no line " + begin + " in " + text : text.substr(at, text.find('\n', at) - at);
}

// Three classes that no single feature tells apart. Without capacity every expert may take what it likes.
const std::string three =
    "train --task classify --layers 1 --width 16 --experts 4 --expert-hidden 16 --capacity-factor 0 "
    "--eval-capacity-factor 0 --sequences 32 --groups 4 --steps 120 --learning-rate 0.01 --warmup-steps 10 "
    "--eval-every 60 --checkpoint-every 60 ";

TEST(Classification, solves_three_classes_with_the_same_bits_on_other_ranks_and_when_cut) {
  const TemporaryFolder folder;
  train::write<float>(train::three_classes(600, 1), folder.path("data.h5"));
  const std::string command = three + "--data " + folder.path("data.h5") + " --out ";
  const Outcome one = conclave(command + folder.path("one"));
  expect_success(one);
  expect_success(on_ranks(2, CONCLAVE_PROGRAM, command + folder.path("two") + " --threads 1"));
  expect_success(on_ranks(3, CONCLAVE_PROGRAM, command + folder.path("cut") + " --threads 1 --stop-after 60"));
  const Outcome resumed = on_ranks(2, CONCLAVE_PROGRAM, "train --threads 1 --resume " + folder.path("cut"));
  expect_success(resumed);
  const std::string digest = digest_of(folder.path("one"));
  EXPECT_EQ(digest.size(), 16U) << digest;
  EXPECT_EQ(digest_of(folder.path("two")), digest);
  EXPECT_EQ(digest_of(folder.path("cut")), digest);

  for (const std::string kind : {"evaluation", "test"}) {
    const nlohmann::json record = last_record(folder.path("one"), kind);
    ASSERT_TRUE(record.is_object()) << kind;
    EXPECT_EQ(record["samples"], 60) << kind;
    EXPECT_GT(record["accuracy"], 0.95) << kind;
    EXPECT_GT(record["macro_f1"], 0.95) << kind;
    EXPECT_EQ(last_record(folder.path("two"), kind), record);
    EXPECT_EQ(last_record(folder.path("cut"), kind), record);
  }
  EXPECT_LT(last_record(folder.path("one"), "step")["loss"], 0.3);
  const std::string test = line_of(one.output, "Test: loss");
  EXPECT_EQ(count(test, "nats/sample over 60 samples, accuracy"), 1) << test;
  EXPECT_EQ(line_of(resumed.output, "Test: loss"), test);
}

TEST(Classification, is_evaluated_on_any_part_and_on_files_with_other_names_for_numbers) {
  const TemporaryFolder folder;
  train::write(train::three_classes(300, 1), folder.path("data.h5"));
  const Outcome run =
      conclave(three + "--fusion vote --data " + folder.path("data.h5") + " --out " + folder.path("run"));
  expect_success(run);
  const std::string evaluate = "evaluate --checkpoint " + folder.path("run");
  const Outcome test = conclave(evaluate + " --split test");
  expect_success(test);
  EXPECT_EQ(count(test.output, "nats/sample over 30 samples"), 1) << test.output;
  EXPECT_EQ(count(test.output, "precision"), 1) << test.output;
  EXPECT_EQ(on_ranks(3, CONCLAVE_PROGRAM, evaluate + " --split test").output, test.output);
  EXPECT_EQ(count(line_of(run.output, "Test: loss"), line_of(test.output, "accuracy ")), 1) << run.output;

  FeatureFile others = train::three_classes(200, 9);
  others.names = {"second", "same", "first"};
  for (std::int64_t& label : others.labels) label = (label + 1) % 3;
  train::write(others, folder.path("others.h5"));
  const Outcome all = on_ranks(2, CONCLAVE_PROGRAM, evaluate + " --split all --data " + folder.path("others.h5"));
  expect_success(all);
  EXPECT_EQ(count(all.output, "over 200 samples"), 1) << all.output;
  const std::string accuracy = line_of(all.output, "accuracy ");
  EXPECT_GT(std::stod(accuracy.substr(9)), 90.0) << accuracy;
  others.names[0] = "third";
  train::write(others, folder.path("others.h5"));
  expect_refusal(on_ranks(2, CONCLAVE_PROGRAM, evaluate + " --split all --data " + folder.path("others.h5")),
                 "the class 'third' is unknown");
  folder.write("texts.tsv", "same\tx\nfirst\ty\n");
  expect_refusal(conclave(evaluate + " --data " + folder.path("texts.tsv")), "for a classifier of feature vectors");
  expect_refusal(on_ranks(2, CONCLAVE_PROGRAM, "generate --tokens 1 --checkpoint " + folder.path("run")),
                 "is a classifier of 3 classes, not a language model");
}

TEST(Classification, of_texts_knows_its_labels_again) {
  const TemporaryFolder folder;
  std::string lines;
  for (Index i = 0; i < 80; ++i) lines += fmt::format("{0}\tthe {0}est of {1}\n", i % 2 == 0 ? "cold" : "hot", i);
  folder.write("texts.tsv", lines);
  const std::string command =
      "train --task classify --layers 1 --width 16 --heads 2 --context 16 --experts 3 "
      "--expert-hidden 16 --sequences 8 --groups 2 --steps 40 --learning-rate 0.01 "
      "--warmup-steps 5 --data " +
      folder.path("texts.tsv") + " --out " + folder.path("run");
  const Outcome run = on_ranks(2, CONCLAVE_PROGRAM, command);
  expect_success(run);
  EXPECT_EQ(count(run.output, "texts: 80 in 2 classes, 64 for training, 8 for validation, 8 for testing"), 1)
      << run.output;
  folder.write("more.tsv", "hot\tthe hotest of all\nhot\thotest\ncold\tthe coldest\n");
  const std::string evaluate = "evaluate --split all --checkpoint " + folder.path("run") + " --data ";
  const Outcome more = conclave(evaluate + folder.path("more.tsv"));
  expect_success(more);
  EXPECT_EQ(count(more.output, "accuracy 100.00 %, macro F1 1.0000"), 1) << more.output;
  folder.write("more.tsv", "hot\tx\n\nwarm\ty\n");
  expect_refusal(on_ranks(2, CONCLAVE_PROGRAM, evaluate + folder.path("more.tsv")),
                 "line 3: the label 'warm' is unknown");
  expect_refusal(conclave(evaluate + "x.h5"), "for a classifier of texts");
}

TEST(Classification, refuses_data_and_options_on_every_rank) {
  const TemporaryFolder folder;
  folder.write("bad.tsv", "a\tx\nb\n");
  expect_refusal(on_ranks(2, CONCLAVE_PROGRAM,
                          "train --task classify --data " + folder.path("bad.tsv") + " --out " + folder.path("run")),
                 "line 2: there is no tab");
  expect_refusal(conclave("train --task classify --out " + folder.path("run")), "task = classify without data");
  expect_refusal(conclave("train --fusion vote --out " + folder.path("run")), "fusion = vote with task = lm");
}

}  // namespace
}  // namespace conclave
