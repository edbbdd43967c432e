// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/train/text_pairs.hpp"

#include "tests/train/temporary_folder.hpp"

#include <gtest/gtest.h>

#include <set>

namespace conclave::train {
namespace {

class TextPairsTest : public testing::Test {
 protected:
  std::unique_ptr<Dataset> read(const std::string& content, Index context = 8, double validation_fraction = 0.0) {
    folder_.write("pairs.tsv", content);
    return make_dataset({.data = path(), .data_format = DataFormat::pairs, .validation_fraction = validation_fraction},
                        context, 1);
  }
  std::string error_of(const std::string& content, Index context = 8) {
    try {
      static_cast<void>(read(content, context));
    } catch (const InputError& error) {
      return fmt::format("{}; {}", error.what(), error.hint());
    }
    return "accepted";
  }
  [[nodiscard]] std::string path() const { return folder_.path("pairs.tsv"); }
  TemporaryFolder folder_;
};

TEST_F(TextPairsTest, HaveTargetsBehindTheTabOnly) {
  const auto data = read(
      "\xEF\xBB\xBF"
      "ab\tcde\r\nx\ty");
  ASSERT_EQ(data->num_sequences(Split::all), 2);
  Batch batch;
  data->read_batch(Split::all, 0, 2, batch);
  EXPECT_EQ(std::string(batch.tokens.begin(), batch.tokens.end()), "ab\tcde\nax\ty\nx\ty\n");
  const std::int32_t none = model::no_target;
  EXPECT_EQ(batch.targets, (std::vector<std::int32_t>{none, none, 'c', 'd', 'e', '\n', none, none,  //
                                                      none, 'y', '\n', none, none, none, none, none}));
  EXPECT_EQ(data->num_targets(Split::all, 0, 2), 6);
  EXPECT_EQ(data->num_targets(Split::all, 1, 1), 2);
  const auto& pairs = dynamic_cast<const TextPairs&>(*data);
  EXPECT_EQ(pairs.pair(Split::all, 0).source, "ab");
  EXPECT_EQ(pairs.pair(Split::all, 0).target, "cde");
}

TEST_F(TextPairsTest, FillAContextToItsEnd) {
  const auto data = read("abc\tdef", 7);
  Batch batch;
  data->read_batch(Split::all, 0, 1, batch);
  EXPECT_EQ(std::string(batch.tokens.begin(), batch.tokens.end()), "abc\tdef");
  EXPECT_EQ(batch.targets.back(), '\n');
}

TEST_F(TextPairsTest, CountTheTargetsThatABatchHas) {
  std::string content;
  for (Index i = 0; i < 40; ++i)
    content += random_text(1 + i % 3, i) + '\t' + random_text(1 + i % 5, 100 + i) + std::to_string(i) + '\n';
  const auto data = read(content, 12, 0.25);
  ASSERT_EQ(data->num_sequences(Split::validation), 10);
  for (const Split split : {Split::train, Split::validation}) {
    Batch batch;
    data->read_batch(split, 3, 7, batch);
    const auto counted = std::ranges::count_if(batch.targets, [](auto target) { return target != model::no_target; });
    EXPECT_EQ(data->num_targets(split, 3, 7), counted);
    EXPECT_GT(counted, 7);
  }
  std::set<std::string> held_out;
  const auto& pairs = dynamic_cast<const TextPairs&>(*data);
  for (Index n = 0; n < 10; ++n) held_out.emplace(pairs.pair(Split::validation, n).target);
  std::set<std::string> trained;
  for (Index n = 0; n < 30; ++n) trained.emplace(pairs.pair(Split::train, n).target);
  EXPECT_EQ(trained.size() + held_out.size(), 40U) << "every line is in one part";
}

TEST_F(TextPairsTest, RefuseWhatIsNoPairByFileAndLine) {
  const auto expect = [&](const std::string& content, const std::string& what) {
    EXPECT_EQ(error_of(content),
              fmt::format("'{}' line 2: {}; a line is source<TAB>target, both of at least one byte", path(), what));
  };
  expect("a\tb\n\nc\td\n", "the line is empty");
  expect("a\tb\ncd\n", "there is no tab");
  expect("a\tb\n\td\n", "there is nothing before the tab");
  expect("a\tb\nc\t\r\n", "there is nothing behind the tab");
  EXPECT_EQ(error_of("a\tb\nabcd\tefgh\n"),
            fmt::format("'{}' line 2: its 9 bytes and their line break are more than the 9 tokens that a context of 8 "
                        "has room for; give context = 9 or more, or leave the line out",
                        path()));
  EXPECT_EQ(error_of("abcd\tefg\n"), "accepted");
  EXPECT_EQ(error_of(""),
            fmt::format("there is no line in '{}'; a line is source<TAB>target, both of at least one byte", path()));
  EXPECT_EQ(error_of("a\tb\n", 2),
            fmt::format("'{}' line 1: its 3 bytes and their line break are more than the 3 tokens "
                        "that a context of 2 has room for; give context = 3 or more, or leave "
                        "the line out",
                        path()));
}

TEST_F(TextPairsTest, NeedAFile) {
  EXPECT_THROW(static_cast<void>(make_dataset({.data_format = DataFormat::pairs}, 8, 1)), InputError);
}

TEST_F(TextPairsTest, AreKnownByTheirBytesAndTheirParts) {
  const auto one = read("a\tb\nc\td\ne\tf\n", 8, 0.4)->fingerprint();
  EXPECT_EQ(read("a\tb\nc\td\ne\tf\n", 8, 0.4)->fingerprint(), one);
  EXPECT_NE(read("a\tb\nc\td\ne\tg\n", 8, 0.4)->fingerprint(), one);
  EXPECT_NE(read("a\tb\nc\td\ne\tf\n", 8, 0.0)->fingerprint(), one);
}

}  // namespace
}  // namespace conclave::train
