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

}  // namespace
}  // namespace conclave
