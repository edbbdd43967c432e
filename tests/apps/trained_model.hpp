// SPDX-License-Identifier: BSD-3-Clause
// A small trained model for the tests of commands that make other files or models of it.
#pragma once

#include "tests/apps/program.hpp"
#include "tests/support/file_content.hpp"
#include "tests/train/temporary_folder.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <string>

namespace conclave::test {

/// The run's options but for --out.
inline const std::string small_run =
    "train --steps 6 --layers 2 --width 24 --heads 2 --context 8 --experts 4 --expert-hidden 16 --sequences 6 "
    "--groups 3 --eval-sequences 3 --eval-every 0 --checkpoint-every 6 ";

/// The number behind `words` in what a command printed.
inline double number_after(const std::string& output, const std::string& words) {
  const auto at = output.find(words);
  return at == std::string::npos ? std::nan("") : std::stod(output.substr(at + words.size()));
}

class TrainedModel : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_EQ(conclave(small_run + "--out " + run_).exit_code, 0);
    ASSERT_TRUE(std::filesystem::exists(run_ + "/step-00000006.h5"));
  }
  static double loss_by_evaluate(const std::string& model, Index ranks = 1) {
    const Outcome outcome = on_ranks(ranks, CONCLAVE_PROGRAM, "evaluate --sequences 24 --checkpoint " + model);
    EXPECT_EQ(outcome.exit_code, 0) << outcome.output;
    return number_after(outcome.output, "loss ");
  }
  train::TemporaryFolder folder_;
  std::string run_ = folder_.path("run");
  std::string file_ = folder_.path("model.safetensors");
};

}  // namespace conclave::test
