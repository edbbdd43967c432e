// SPDX-License-Identifier: BSD-3-Clause
// Models edited and compressed as a user does it.
#include "tests/apps/trained_model.hpp"

namespace conclave {
namespace {

namespace fs = std::filesystem;

using test::conclave;
using test::content_of;
using test::count;
using test::on_ranks;
using test::Outcome;

using Change = test::TrainedModel;

// The last number of the table's row `name`.
double loss_of(const std::string& output, const std::string& name) {
  const auto at = output.find("\n" + name + " ");
  if (at == std::string::npos) return std::nan("");
  const std::string line = output.substr(at + 1, output.find('\n', at + 1) - at - 1);
  return std::stod(line.substr(line.rfind(' ')));
}

TEST_F(Change, cut_experts_go_on_training_on_any_ranks) {
  const std::string out = folder_.path("cut");
  const Outcome outcome = conclave("edit --checkpoint " + run_ + " --split-experts 2 --sequences 24 --out " + out);
  ASSERT_EQ(outcome.exit_code, 0) << outcome.output;
  EXPECT_EQ(count(outcome.output, "8 experts a layer, of which a token chooses 4 (before: 4 and 2)"), 1)
      << outcome.output;
  EXPECT_EQ(count(outcome.output, "computes what the model did"), 1);
  EXPECT_NEAR(loss_of(outcome.output, "after"), loss_of(outcome.output, "before"), 2e-6);
  EXPECT_EQ(loss_of(outcome.output, "after"), loss_by_evaluate(out));
  fs::copy(out, folder_.path("on_one"), fs::copy_options::recursive | fs::copy_options::copy_symlinks);
  const std::string on = "train --steps 9 --resume ";
  ASSERT_EQ(conclave(on + folder_.path("on_one")).exit_code, 0);
  ASSERT_EQ(on_ranks(3, CONCLAVE_PROGRAM, on + out).exit_code, 0);
  const std::string bytes = content_of(out + "/step-00000009.h5");
  EXPECT_GT(bytes.size(), 10000U);
  EXPECT_EQ(bytes, content_of(folder_.path("on_one/step-00000009.h5")));
}

TEST_F(Change, edits_are_told_and_refused) {
  const std::string edit = "edit --checkpoint " + run_ + " --sequences 24 --out " + folder_.path("new") + " ";
  EXPECT_EQ(count(conclave(edit).output, "0 edits"), 1);
  EXPECT_EQ(count(conclave(edit + "--remove 1 --merge 2+3").output, "2 edits"), 1);
  EXPECT_EQ(count(conclave(edit + "--remove 2:1").output, "in none of the 2 MoE layers"), 1);
  EXPECT_EQ(count(conclave(edit + "--remove 0:1").output, "as many in every layer"), 1);
  EXPECT_EQ(count(conclave(edit + "--merge 1+x").output, "is no expert"), 1);
  EXPECT_EQ(count(conclave(edit + "--split-experts 3").output, "multiple of the parts"), 1);
  EXPECT_EQ(count(on_ranks(2, CONCLAVE_PROGRAM, edit + "--remove 1").output, "on 2 ranks"), 1);
  EXPECT_FALSE(fs::exists(folder_.path("new")));
  const Outcome removed = conclave(edit + "--remove 0:1,1:3");
  ASSERT_EQ(removed.exit_code, 0) << removed.output;
  EXPECT_EQ(count(removed.output, "it computes something else"), 1) << removed.output;
  EXPECT_NE(loss_of(removed.output, "after"), loss_of(removed.output, "before"));
  EXPECT_EQ(count(conclave(edit + "--remove 1").output, "already holds checkpoints"), 1);
  const std::string more = folder_.path("more");
  const Outcome added = conclave("edit --checkpoint " + run_ + " --add-experts 2 --no-measure --out " + more);
  EXPECT_EQ(count(added.output, "not measured"), 2) << added.output;
  EXPECT_EQ(count(conclave("inspect --experts --checkpoint " + more).output, "dead: no gradient"), 4);
}

TEST_F(Change, compressed_models_are_smaller_and_run) {
  const double loss = loss_by_evaluate(run_);
  const auto compress = [&](const std::string& how, const std::string& out) {
    const Outcome outcome =
        conclave("compress --checkpoint " + run_ + " --sequences 24 " + how + " --out " + folder_.path(out));
    EXPECT_EQ(outcome.exit_code, 0) << outcome.output;
    EXPECT_EQ(loss_of(outcome.output, "before"), loss);
    return outcome.output;
  };
  ASSERT_EQ(conclave("export --checkpoint " + run_ + " --out " + file_).exit_code, 0);
  const auto whole = static_cast<double>(fs::file_size(file_));
  const std::string bf16 = compress("--quantise bf16", "bf16.safetensors");
  EXPECT_LT(static_cast<double>(fs::file_size(folder_.path("bf16.safetensors"))), 0.7 * whole);
  EXPECT_NEAR(loss_of(bf16, "bf16"), loss, 0.01);
  EXPECT_EQ(loss_by_evaluate(folder_.path("bf16.safetensors"), 2), loss_of(bf16, "bf16"));
  const std::string int8 = compress("--quantise int8", "int8.safetensors");
  EXPECT_LT(fs::file_size(folder_.path("int8.safetensors")), fs::file_size(folder_.path("bf16.safetensors")));
  EXPECT_NE(loss_of(int8, "int8"), loss);
  EXPECT_NEAR(loss_of(int8, "int8"), loss, 0.01);
  EXPECT_EQ(loss_by_evaluate(folder_.path("int8.safetensors")), loss_of(int8, "int8"));
  EXPECT_EQ(conclave("generate --tokens 5 --checkpoint " + folder_.path("int8.safetensors")).exit_code, 0);
  const std::string experts = compress("--prune-experts 0.25 --prune-weights 0.5", "fewer");
  EXPECT_EQ(count(experts, "loss without it"), 1);
  EXPECT_EQ(loss_by_evaluate(folder_.path("fewer")), loss_of(experts, "weights"));
  EXPECT_NE(loss_of(experts, "weights"), loss_of(experts, "experts"));
  EXPECT_EQ(conclave("train --steps 8 --resume " + folder_.path("fewer")).exit_code, 0);
  const std::string wrong = "compress --checkpoint " + run_ + " --out " + folder_.path("no") + " ";
  EXPECT_EQ(count(conclave(wrong).output, "no compression"), 1);
  EXPECT_EQ(count(conclave(wrong + "--quantise int8").output, "float32 only"), 1);
  EXPECT_EQ(count(conclave(wrong + "--prune-experts 3").output, "prune_experts = 3 of 4"), 1);
  EXPECT_EQ(count(conclave(wrong + "--prune-weights 1").output, "prune_weights = 1"), 1);
}

TEST_F(Change, pruned_experts_are_merged_into_those_that_stay) {
  const std::string prune = "compress --checkpoint " + run_ + " --sequences 24 --prune-experts 1 --out ";
  const Outcome removed = conclave(prune + folder_.path("removed"));
  const Outcome merged = conclave(prune + folder_.path("merged") + " --prune-by merge");
  ASSERT_EQ(merged.exit_code, 0) << merged.output;
  EXPECT_EQ(count(merged.output, "loss by that instead"), 1) << merged.output;
  EXPECT_EQ(loss_by_evaluate(folder_.path("merged"), 2), loss_of(merged.output, "merged"));
  EXPECT_NE(loss_of(merged.output, "merged"), loss_of(removed.output, "experts"));
  EXPECT_EQ(conclave("train --steps 8 --resume " + folder_.path("merged")).exit_code, 0);
  const std::string no = "compress --checkpoint " + run_ + " --out " + folder_.path("no");
  EXPECT_EQ(count(conclave(no + " --prune-by merge --prune-weights 0.5").output, "without prune_experts"), 1);
}

TEST_F(Change, a_dense_student_is_distilled_on_any_ranks) {
  const std::string distil =
      "compress --distil --checkpoint " + run_ + " --sequences 24 --distil-steps 4 --temperature 3 --out ";
  const std::string one = folder_.path("one");
  const Outcome outcome = conclave(distil + one + " --compare-undistilled");
  ASSERT_EQ(outcome.exit_code, 0) << outcome.output;
  EXPECT_EQ(count(outcome.output, "temperature 3"), 2) << outcome.output;
  EXPECT_EQ(count(outcome.output, "gelu of hidden width 32"), 1) << outcome.output;
  EXPECT_EQ(loss_of(outcome.output, "teacher"), loss_by_evaluate(run_));
  EXPECT_EQ(loss_of(outcome.output, "student"), loss_by_evaluate(one, 2));
  EXPECT_EQ(loss_of(outcome.output, "no teacher"), loss_by_evaluate(one + "-undistilled"));
  EXPECT_NE(loss_of(outcome.output, "no teacher"), loss_of(outcome.output, "student"));
  const std::string three = folder_.path("three");
  const Outcome on_three = on_ranks(3, CONCLAVE_PROGRAM, distil + three);
  ASSERT_EQ(on_three.exit_code, 0) << on_three.output;
  EXPECT_EQ(loss_of(on_three.output, "student"), loss_of(outcome.output, "student"));
  const std::string bytes = content_of(three + "/step-00000004.h5");
  EXPECT_GT(bytes.size(), 10000U);
  EXPECT_EQ(bytes, content_of(one + "/step-00000004.h5"));
  // It is a checkpoint like any other; a run that goes on has its teacher still.
  const Outcome resumed = on_ranks(2, CONCLAVE_PROGRAM, "train --steps 6 --resume " + three);
  ASSERT_EQ(resumed.exit_code, 0) << resumed.output;
  EXPECT_EQ(count(resumed.output, "the teacher is"), 1) << resumed.output;
  EXPECT_EQ(conclave("generate --tokens 5 --checkpoint " + one).exit_code, 0);
  EXPECT_EQ(conclave("export --checkpoint " + one + " --out " + file_).exit_code, 0);
  const Outcome smaller = conclave("compress --quantise int8 --sequences 24 --checkpoint " + one + " --out " +
                                   folder_.path("s.safetensors"));
  EXPECT_NEAR(loss_of(smaller.output, "int8"), loss_of(outcome.output, "student"), 0.01) << smaller.output;
}

TEST_F(Change, what_a_student_cannot_be_is_refused) {
  const std::string base = "compress --checkpoint " + run_ + " --out " + folder_.path("no") + " ";
  EXPECT_EQ(count(conclave(base + "--student-hidden 8 --prune-experts 1").output, "without '--distil'"), 1);
  EXPECT_EQ(count(conclave(base + "--learning-rate 0.1 --prune-experts 1").output, "without '--distil'"), 1);
  EXPECT_EQ(count(conclave(base + "--distil --prune-experts 1").output, "no experts to prune"), 1);
  EXPECT_EQ(count(conclave(base + "--distil --quantise int8").output, "then compress it"), 1);
  EXPECT_EQ(count(conclave(base + "--distil --student-layers 3").output, "student_layers = 3 of a teacher of 2"), 1);
  EXPECT_EQ(count(conclave(base + "--distil --distil-weight 2").output, "distil_weight = 2"), 1);
  EXPECT_EQ(count(conclave("train --steps 2 --temperature 3 --out " + folder_.path("no")).output, "without teacher"),
            1);
  EXPECT_EQ(count(conclave("bench step --teacher " + run_).output, "steps without one"), 1);
  EXPECT_FALSE(fs::exists(folder_.path("no")));
}

}  // namespace
}  // namespace conclave
