// SPDX-License-Identifier: BSD-3-Clause
// export, import, edit and compress as a user calls them.
#include "runtime/train/safetensors_model.hpp"
#include "tests/apps/program.hpp"
#include "tests/support/file_content.hpp"
#include "tests/train/temporary_folder.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <functional>

namespace conclave {
namespace {

namespace fs = std::filesystem;

using test::conclave;
using test::content_of;
using test::count;
using test::digest_of;
using test::on_ranks;
using test::Outcome;
using train::TemporaryFolder;

const std::string small =
    "train --steps 6 --layers 2 --width 24 --heads 2 --context 8 --experts 4 --expert-hidden 16 --sequences 6 "
    "--groups 3 --eval-sequences 3 --eval-every 0 --checkpoint-every 6 ";

// The number behind `words` in what a command printed.
double number_after(const std::string& output, const std::string& words) {
  const auto at = output.find(words);
  return at == std::string::npos ? std::nan("") : std::stod(output.substr(at + words.size()));
}
// The last number of the table's row `name`.
double loss_of(const std::string& output, const std::string& name) {
  const auto at = output.find("\n" + name + " ");
  if (at == std::string::npos) return std::nan("");
  const std::string line = output.substr(at + 1, output.find('\n', at + 1) - at - 1);
  return std::stod(line.substr(line.rfind(' ')));
}

class ModelCommands : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_EQ(conclave(small + "--out " + run_).exit_code, 0);
    ASSERT_TRUE(fs::exists(run_ + "/step-00000006.h5"));
  }
  double loss_by_evaluate(const std::string& model, Index ranks = 1) {
    const Outcome outcome = on_ranks(ranks, CONCLAVE_PROGRAM, "evaluate --sequences 24 --checkpoint " + model);
    EXPECT_EQ(outcome.exit_code, 0) << outcome.output;
    return number_after(outcome.output, "loss ");
  }
  TemporaryFolder folder_;
  std::string run_ = folder_.path("run");
  std::string file_ = folder_.path("model.safetensors");
};

TEST_F(ModelCommands, what_is_exported_and_imported_is_the_same_in_every_bit) {
  for (const std::string shards : {"", " --shard-size 20KB"}) {
    SCOPED_TRACE(shards);
    const std::string again = folder_.path("again" + std::to_string(shards.size()));
    const Outcome outcome = conclave("export --checkpoint " + run_ + " --optimizer --out " + file_ + shards);
    ASSERT_EQ(outcome.exit_code, 0) << outcome.output;
    EXPECT_EQ(count(outcome.output, "wrote ") > 2, !shards.empty()) << outcome.output;
    const std::string from = shards.empty() ? file_ : folder_.path("model.safetensors.index.json");
    ASSERT_EQ(conclave("import --file " + from + " --out " + again).exit_code, 0);
    const std::string digest = digest_of(run_);
    EXPECT_EQ(digest.size(), 16U) << digest;
    EXPECT_EQ(digest_of(again), digest);
    // And in everything else that the next steps depend on.
    for (const std::string& run : {run_, again}) {
      fs::remove_all(folder_.path("next"));
      ASSERT_EQ(conclave("train --steps 8 --out " + folder_.path("next") + " --resume " + run).exit_code, 0);
      if (run == run_)
        fs::copy_file(folder_.path("next/step-00000008.h5"), folder_.path("expected.h5"),
                      fs::copy_options::overwrite_existing);
    }
    EXPECT_EQ(content_of(folder_.path("next/step-00000008.h5")), content_of(folder_.path("expected.h5")));
  }
}

TEST_F(ModelCommands, parameters_alone_are_a_model_to_begin_at) {
  ASSERT_EQ(conclave("export --checkpoint " + run_ + " --out " + file_).exit_code, 0);
  const double loss = loss_by_evaluate(run_);
  EXPECT_EQ(loss_by_evaluate(file_), loss);
  EXPECT_EQ(loss_by_evaluate(file_, 3), loss);
  const std::string again = folder_.path("again");
  const Outcome imported = conclave("import --file " + file_ + " --out " + again);
  EXPECT_EQ(count(imported.output, "--init-from"), 1) << imported.output;
  EXPECT_EQ(loss_by_evaluate(again), loss);
  const std::string next = " --out " + folder_.path("next");
  EXPECT_EQ(conclave(small + "--init-from " + again + next).exit_code, 0);
  // Into the same folder again: refused.
  EXPECT_NE(conclave("import --file " + file_ + " --out " + again).exit_code, 0);
}

TEST_F(ModelCommands, a_file_of_another_program_takes_its_options_from_a_run) {
  ASSERT_EQ(conclave("export --checkpoint " + run_ + " --out " + file_).exit_code, 0);
  train::CheckpointContents contents = train::read_safetensors_model(file_);
  contents.header = {};
  const std::string bare = folder_.path("bare.safetensors");
  static_cast<void>(train::write_safetensors_model(contents, bare, train::WeightType::f32, 0));
  EXPECT_EQ(count(conclave("evaluate --checkpoint " + bare).output, "import --options"), 1);
  const std::string out = folder_.path("again");
  EXPECT_EQ(count(conclave("import --file " + bare + " --out " + out).output, "does not tell"), 1);
  const std::string import = "import --options " + run_ + "/config.ini --out " + out + " --file ";
  EXPECT_EQ(count(conclave(import + file_).output, "tells its own"), 1);
  const Outcome outcome = conclave(import + bare);
  ASSERT_EQ(outcome.exit_code, 0) << outcome.output;
  EXPECT_EQ(loss_by_evaluate(out), loss_by_evaluate(run_));
}

TEST_F(ModelCommands, files_of_other_models_are_refused) {
  ASSERT_EQ(conclave("export --checkpoint " + run_ + " --optimizer --out " + file_).exit_code, 0);
  const train::CheckpointContents whole = train::read_safetensors_model(file_);
  const auto output_for = [&](const std::function<void(train::CheckpointContents&)>& change) {
    train::CheckpointContents contents = whole;
    change(contents);
    static_cast<void>(train::write_safetensors_model(contents, file_, train::WeightType::f32, 0));
    const Outcome outcome = conclave("import --file " + file_ + " --out " + folder_.path("again"));
    EXPECT_NE(outcome.exit_code, 0);
    EXPECT_FALSE(fs::exists(folder_.path("again")));
    return outcome.output;
  };
  EXPECT_EQ(count(output_for([](auto& c) { c.tensors.erase("/params/embedding"); }),
                  "/params/embedding [256 x 24] is missing"),
            1);
  EXPECT_EQ(count(output_for([](auto& c) {
                    c.tensors["/params/more"] = {{1}, {1.0F}};
                  }),
                  "/params/more is not of this"),
            1);
  EXPECT_EQ(count(output_for([](auto& c) { c.tensors["/params/embedding"].values[30] = std::nanf(""); }), "not finite"),
            1);
  EXPECT_EQ(count(output_for([](auto& c) { c.tensors.erase("/optimizer/m/embedding"); }), "/optimizer/m/embedding"), 1);
  EXPECT_GT(count(output_for([](auto& c) { c.header.config["width"] = "12"; }), "it should be ["), 10);
  EXPECT_EQ(count(output_for([](auto& c) { c.header.integers.erase("vocabulary"); }), "vocabulary"), 1);
}

TEST_F(ModelCommands, cut_experts_go_on_training_on_any_ranks) {
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

TEST_F(ModelCommands, edits_are_told_and_refused) {
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

TEST_F(ModelCommands, compressed_models_are_smaller_and_run) {
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
