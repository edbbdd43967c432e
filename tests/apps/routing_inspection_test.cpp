// SPDX-License-Identifier: BSD-3-Clause
// `inspect --routing` as a user starts it.
#include "tests/apps/trained_model.hpp"

namespace conclave {
namespace {

using test::conclave;
using test::content_of;
using test::count;
using test::on_ranks;
using test::Outcome;

constexpr const char* sizes =
    "train --steps 1 --layers 2 --width 24 --heads 2 --context 16 --expert-hidden 16 --sequences 6 --groups 3 "
    "--eval-sequences 3 --eval-every 0 --checkpoint-every 1 --experts 4 --top-k 1 ";

class RoutingInspection : public testing::Test {
 protected:
  void train(const std::string& options) {
    const Outcome outcome = conclave(sizes + options + " --out " + run_);
    ASSERT_EQ(outcome.exit_code, 0) << outcome.output;
  }
  train::TemporaryFolder folder_;
  std::string run_ = folder_.path("run");
  std::string inspect_ = "inspect --routing --sequences 40 --checkpoint " + run_ + " ";
};

// Letters to expert 0, white space to 1, punctuation to 2: an expert tells all about the class, and the other way
// round.
TEST_F(RoutingInspection, shows_exactly_what_rules_say_on_any_ranks) {
  train(
      "--router rule --capacity-factor 0 --eval-capacity-factor 0 --rules "
      "'class letter -> 0; class space -> 1; class punctuation -> 2; default -> 3'");
  const Outcome one = conclave(inspect_ + "--sentence 'so, a' --html " + folder_.path("1.html"));
  ASSERT_EQ(one.exit_code, 0) << one.output;
  EXPECT_EQ(count(one.output, "4 experts, 640 claims served"), 2) << one.output;
  const double most = test::number_after(one.output, "byte class");
  EXPECT_GT(most, 0.3);
  EXPECT_EQ(count(one.output, "expert and domain"), 2);
  for (const std::string kind : {"byte ", "byte class"}) {
    const auto line = one.output.substr(one.output.find("expert and " + kind));
    EXPECT_EQ(test::number_after(line, "at most "), test::number_after(line, "expert and " + kind)) << line;
  }
  EXPECT_EQ(count(one.output, "s         expert 0 1.000    expert 0 1.000"), 1) << one.output;
  EXPECT_EQ(count(one.output, "o         expert 0 1.000    expert 0 1.000"), 1);
  EXPECT_EQ(count(one.output, ",         expert 2 1.000    expert 2 1.000"), 1);
  EXPECT_EQ(count(one.output, "space     expert 1 1.000    expert 1 1.000"), 1);
  EXPECT_EQ(count(one.output, "\033"), 0) << "colours in a pipe";
  for (const Index ranks : {2, 3, 4, 6}) {
    const std::string page = folder_.path(std::to_string(ranks) + ".html");
    const Outcome outcome = on_ranks(ranks, CONCLAVE_PROGRAM, inspect_ + "--sentence 'so, a' --html " + page);
    EXPECT_EQ(outcome.exit_code, 0);
    EXPECT_EQ(outcome.output, one.output) << ranks << " ranks";
    EXPECT_EQ(content_of(page), content_of(folder_.path("1.html")));
  }
}

TEST_F(RoutingInspection, is_the_same_with_a_trained_router_on_any_ranks) {
  train("--router topk");
  const Outcome one = conclave(inspect_ + "--sentence abc");
  ASSERT_EQ(one.exit_code, 0) << one.output;
  EXPECT_EQ(count(one.output, "claims served"), 2);
  for (const Index ranks : {2, 3, 4, 6}) {
    EXPECT_EQ(on_ranks(ranks, CONCLAVE_PROGRAM, inspect_ + "--sentence abc").output, one.output) << ranks << " ranks";
  }
}

TEST_F(RoutingInspection, refuses_what_it_cannot_tell) {
  train("--moe-every 0");
  EXPECT_EQ(count(conclave(inspect_).output, "has no MoE layer (moe_every = 0)"), 1);
  EXPECT_EQ(count(conclave("inspect --sentence a --checkpoint " + run_).output, "sentence without routing"), 1);
  EXPECT_EQ(count(conclave(inspect_ + "--tensors").output, "routing stands alone"), 1);
}

TEST_F(RoutingInspection, refuses_long_sentences_and_lacking_data) {
  train("");
  EXPECT_EQ(
      count(conclave(inspect_ + "--sentence 12345678901234567").output, "a sentence of 17 bytes with context = 16"), 1);
  const Outcome lacking = on_ranks(2, CONCLAVE_PROGRAM, inspect_ + "--data " + folder_.path("none.txt"));
  EXPECT_NE(lacking.exit_code, 0);
  EXPECT_GE(count(lacking.output, "none.txt"), 1) << lacking.output;
  EXPECT_EQ(conclave(inspect_ + "--sentence 1234567890123456").exit_code, 0);
}

}  // namespace
}  // namespace conclave
