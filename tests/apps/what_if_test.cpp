// SPDX-License-Identifier: BSD-3-Clause
// `conclave simulate run --vary` and `explain` as a user calls them.
#include "tests/apps/simulations.hpp"
#include "tests/support/file_content.hpp"

namespace conclave {
namespace {

using nlohmann::json;
using test::content_of;
using test::Outcome;

class WhatIf : public test::Simulations {};

TEST_F(WhatIf, AGridIsEveryCombinationRankedAndPricedAsAlone) {
  const json grid = simulated("run", "--ranks 8 --vary exchange=flat,pairwise --vary nic_Bps=1e8,1e9,1e10");
  EXPECT_EQ(grid["what_ifs"], 6);
  ASSERT_EQ(grid["points"].size(), 6U);
  EXPECT_EQ(grid["points"][0]["to_first"], 0.0);
  EXPECT_EQ(grid["points"][0]["varied"]["nic_Bps"], "1e10");
  EXPECT_EQ(grid["points"][5]["varied"]["nic_Bps"], "1e8");
  for (std::size_t i = 1; i < 6; ++i) {
    const double step_s = grid["points"][i]["step_s"];
    EXPECT_GE(step_s, grid["points"][i - 1]["step_s"].get<double>());
    EXPECT_NEAR(grid["points"][i]["to_first"].get<double>(), step_s / grid["points"][0]["step_s"].get<double>() - 1.0,
                1e-12);
  }
  for (const json& point : grid["points"]) {
    if (point["varied"]["nic_Bps"] != "1e10") continue;  // which the cluster's file says
    const std::string alone = fmt::format("--ranks 8 --exchange {}", point["varied"]["exchange"].get<std::string>());
    EXPECT_EQ(simulated("run", alone)["points"][0]["step_s"], point["step_s"]);
  }
}

TEST_F(WhatIf, AnyOptionVariesAlsoRanksSkewAndTheModel) {
  const json grid =
      simulated("run", "--vary ranks=4,8,skew=uniform,gini:0.5 --vary experts=8,16 --capacity-factor 0 --rank-by cost");
  ASSERT_EQ(grid["points"].size(), 8U);
  for (std::size_t i = 1; i < 8; ++i) {
    EXPECT_GE(grid["points"][i]["core_hours_per_1000_steps"].get<double>(),
              grid["points"][i - 1]["core_hours_per_1000_steps"].get<double>());
  }
  const std::string alone = "--ranks 8 --vary experts=16 --skew gini:0.5 --capacity-factor 0";
  const json point = simulated("run", alone)["points"][0];
  for (const json& varied : grid["points"]) {
    if (varied["varied"]["ranks"] != "8" || varied["varied"]["experts"] != "16") continue;
    EXPECT_EQ(varied["step_s"] == point["step_s"], varied["varied"]["skew"] == "gini:0.5");
  }
}

TEST_F(WhatIf, SaysWhatHasNoEffectAndWhatCannotBe) {
  const Outcome outcome =
      simulate("run", fmt::format("--ranks 8 --vary seed=1,2 --vary heads=2,3 --csv {}", folder_.path("t.csv")));
  EXPECT_EQ(outcome.exit_code, 0) << outcome.output;
  EXPECT_NE(outcome.output.find("seed changes nothing here"), std::string::npos) << outcome.output;
  EXPECT_EQ(outcome.output.find("heads changes nothing"), std::string::npos) << outcome.output;
  EXPECT_NE(outcome.output.find("2 left out: "), std::string::npos) << outcome.output;
  EXPECT_EQ(test::count(content_of(folder_.path("t.csv")), "\n"), 3);
}

TEST_F(WhatIf, ManyRanksTellOnce) {
  const Outcome outcome =
      test::on_ranks(3, CONCLAVE_PROGRAM,
                     fmt::format("simulate run --cluster {} --threads 1 {} --ranks 4 --vary waves=1,2",
                                 folder_.path("cluster.json"), test::small_run));
  EXPECT_EQ(outcome.exit_code, 0) << outcome.output;
  EXPECT_EQ(test::count(outcome.output, "2 of 2 what-ifs priced"), 1) << outcome.output;
}

TEST_F(WhatIf, ExplainsAStepThatItsPartsAddUpTo) {
  const json step = simulated("explain", "--ranks 8 --machine " + folder_.path("machine.json"));
  double sum = 0.0;
  Index firsts = 0;
  for (const json& part : step["path"]) {
    sum += part["time_s"].get<double>();
    firsts += part["place"] == 1 ? 1 : 0;
    EXPECT_FALSE(part["bound_by"].get<std::string>().empty()) << part;
  }
  EXPECT_NEAR(sum, step["step_s"].get<double>(), 1e-9 * sum);
  EXPECT_EQ(firsts, 1);
  ASSERT_GE(step["without"].size(), 5U);
  for (const json& limit : step["without"]) {
    EXPECT_NEAR(limit["step_s"].get<double>() + limit["gain_s"].get<double>(), sum, 1e-9 * sum);
    EXPECT_LE(limit["gain_s"], step["without"][0]["gain_s"]);
  }
  EXPECT_EQ(simulated("run", "--ranks 8 --machine " + folder_.path("machine.json"))["points"][0]["step_s"],
            step["step_s"]);
}

TEST_F(WhatIf, ExplainsWithTheExpertThatARecordedStepFilled) {
  const std::string trace = recorded();
  const Outcome outcome = simulate("explain", "--ranks 4 --routing " + trace);
  EXPECT_EQ(outcome.exit_code, 0) << outcome.output;
  EXPECT_NE(outcome.output.find("its expert"), std::string::npos) << outcome.output;
  EXPECT_NE(outcome.output.find(" of MoE layer "), std::string::npos) << outcome.output;
  EXPECT_NE(outcome.output.find("uneven experts"), std::string::npos) << outcome.output;
}

TEST_F(WhatIf, RefusesWhatIsNoQuestion) {
  const std::string trace = recorded();
  for (const auto& [arguments, reason] :
       {std::pair<std::string, const char*>{"--vary exchagne=flat", "did you mean exchange"},
        {"--vary nic_bps=1e9", "did you mean nic_Bps"},
        {"--vary flat", "give KEY=a,b,c"},
        {"--vary waves=1 --vary waves=2", "waves is given twice"},
        {"--vary waves=", "give KEY=a,b,c"},
        {"--vary waves=many", "waves cannot be 'many'"},
        {"--vary nic_Bps=-1", "nic_Bps"},
        {"--vary resume=a", "resume says nothing about a step"},
        {"--vary waves=1 --ranks 4,8", "vary ranks="},
        {"--rank-by cost", "rank_by without vary"},
        {"--vary capacity_factor=1,2 --routing " + trace, "conclave simulate replay"}}) {
    const Outcome outcome = simulate("run", arguments);
    EXPECT_NE(outcome.exit_code, 0) << arguments;
    EXPECT_NE(outcome.output.find(reason), std::string::npos) << outcome.output;
  }
  EXPECT_NE(simulate("explain", "--ranks 6").output.find("6 ranks on nodes of 4"), std::string::npos);
}

}  // namespace
}  // namespace conclave
