// SPDX-License-Identifier: BSD-3-Clause
// Models exported and imported as a user does it.
#include "runtime/train/safetensors_model.hpp"
#include "tests/apps/trained_model.hpp"

#include <functional>

namespace conclave {
namespace {

namespace fs = std::filesystem;

using test::conclave;
using test::content_of;
using test::count;
using test::digest_of;
using test::Outcome;
using test::small_run;

using Exchange = test::TrainedModel;

TEST_F(Exchange, what_is_exported_and_imported_is_the_same_in_every_bit) {
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

TEST_F(Exchange, parameters_alone_are_a_model_to_begin_at) {
  ASSERT_EQ(conclave("export --checkpoint " + run_ + " --out " + file_).exit_code, 0);
  const double loss = loss_by_evaluate(run_);
  EXPECT_EQ(loss_by_evaluate(file_), loss);
  EXPECT_EQ(loss_by_evaluate(file_, 3), loss);
  const std::string again = folder_.path("again");
  const Outcome imported = conclave("import --file " + file_ + " --out " + again);
  EXPECT_EQ(count(imported.output, "--init-from"), 1) << imported.output;
  EXPECT_EQ(loss_by_evaluate(again), loss);
  const std::string next = " --out " + folder_.path("next");
  EXPECT_EQ(conclave(small_run + "--init-from " + again + next).exit_code, 0);
  // Into the same folder again: refused.
  EXPECT_NE(conclave("import --file " + file_ + " --out " + again).exit_code, 0);
}

TEST_F(Exchange, a_file_of_another_program_takes_its_options_from_a_run) {
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

TEST_F(Exchange, files_of_other_models_are_refused) {
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

}  // namespace
}  // namespace conclave
