// SPDX-License-Identifier: BSD-3-Clause
// Presets against what the systems' papers and sources say.
#include "gating/presets.hpp"
#include "gating/capacity.hpp"

#include <gtest/gtest.h>

#include <map>

namespace conclave::gating {
namespace {

using Values = std::map<std::string, std::string>;

Values values_of(RouterOptions options) {
  OptionTable table;
  describe(options, table);
  Values values;
  for (const Option& option : table.options()) values[option.name] = option.text();
  return values;
}

RouterOptions with_values(const Values& values) {
  RouterOptions options;
  OptionTable table;
  describe(options, table);
  for (const auto& [name, text] : values) table.assign(name, text);
  return options;
}

std::set<std::string> names_of(const Values& values) {
  std::set<std::string> names;
  for (const auto& [name, text] : values) names.insert(name);
  return names;
}

// The options after a user gave these.
RouterOptions settled(const Values& given) {
  RouterOptions options = with_values(given);
  apply_preset(options, names_of(given));
  return options;
}

RouterOptions preset(const std::string& name, Index experts = 64) {
  return settled({{"router_preset", name}, {"experts", fmt::format("{}", experts)}});
}

Index slots(const RouterOptions& o, double factor, Index tokens) {
  return expert_capacity(o.capacity_formula, factor, static_cast<double>(o.top_k), tokens, o.experts, o.min_capacity);
}

TEST(RouterPresetTest, AreValidForAnyNumberOfExperts) {
  ASSERT_EQ(router_presets().size(), 12U);
  for (const RouterPreset& kind : router_presets()) {
    for (const Index experts : {2, 3, 7, 8, 16, 64, 256, 384}) {
      SCOPED_TRACE(fmt::format("{}, {} experts", kind.name, experts));
      const RouterOptions o = preset(std::string(kind.name), experts);
      EXPECT_NO_THROW(validate(o));
      EXPECT_EQ(o.experts, experts);
      EXPECT_EQ(o.router_preset, kind.name);
      if (kind.top_k > 0) {
        EXPECT_EQ(o.top_k, std::min(kind.top_k, experts));
      }
      EXPECT_TRUE(departures_from_preset(o).empty());
    }
    EXPECT_FALSE(kind.source.empty());
    EXPECT_FALSE(kind.notes.empty());
  }
}

// Every option of each preset for 64 experts, written down once more from the systems; what is not named is as in a
// router without normalising, limit and losses.
TEST(RouterPresetTest, SayWhatTheSystemsSay) {
  const Values plain = {{"experts", "64"},
                        {"normalise", "none"},
                        {"capacity_factor", "0"},
                        {"eval_capacity_factor", "0"},
                        {"min_capacity", "0"},
                        {"c_balance", "0"},
                        {"c_z", "0"}};
  const std::map<std::string, Values> expected = {
      {"gshard",
       {{"normalise", "selected"},
        {"second_policy", "random"},
        {"capacity_formula", "lingvo"},
        {"capacity_factor", "2"},
        {"eval_capacity_factor", "2"},
        {"c_balance", "0.01"},
        {"balance_count", "first"}}},
      {"switch",
       {{"top_k", "1"},
        {"jitter", "0.01"},
        {"capacity_formula", "mesh"},
        {"capacity_factor", "1.25"},
        {"eval_capacity_factor", "2"},
        {"min_capacity", "4"},
        {"c_balance", "0.01"},
        {"balance_count", "first"}}},
      {"st-moe",
       {{"normalise", "selected"},
        {"second_policy", "random"},
        {"second_threshold", "0.2"},
        {"capacity_formula", "mesh"},
        {"capacity_factor", "1.25"},
        {"eval_capacity_factor", "2"},
        {"min_capacity", "4"},
        {"c_balance", "0.01"},
        {"balance_count", "first"},
        {"c_z", "0.001"}}},
      {"mixtral", {{"normalise", "selected"}, {"c_balance", "0.04"}}},
      {"deepseek-v3",
       {{"top_k", "8"},
        {"scorer", "sigmoid"},
        {"normalise", "selected"},
        {"gate_scale", "2.5"},
        {"selection_bias", "yes"},
        {"c_balance", "0.0001"}}},
      {"megatron",
       {{"normalise", "selected"},
        {"capacity_formula", "megatron"},
        {"priority", "probability"},
        {"c_balance", "0.01"}}},
      {"tutel",
       {{"normalise", "selected"},
        {"capacity_formula", "tutel"},
        {"capacity_factor", "1"},
        {"eval_capacity_factor", "1"},
        {"c_balance", "0.01"},
        {"balance_count", "first"}}},
      {"deepspeed",
       {{"normalise", "kept"},
        {"second_policy", "sampled"},
        {"capacity_formula", "deepspeed"},
        {"capacity_factor", "1"},
        {"eval_capacity_factor", "1"},
        {"min_capacity", "4"},
        {"c_balance", "0.01"},
        {"balance_count", "first"}}},
      {"fastmoe-gshard",
       {{"router_bias", "yes"},
        {"normalise", "selected"},
        {"second_policy", "random_late"},
        {"capacity_formula", "fastmoe"},
        {"capacity_factor", "1.2"},
        {"eval_capacity_factor", "2.4"},
        {"c_balance", "0.01"},
        {"balance_count", "first"}}},
      {"expert-choice",
       {{"router", "expert_choice"},
        {"capacity_formula", "flaxformer"},
        {"capacity_factor", "2"},
        {"eval_capacity_factor", "2"},
        {"min_capacity", "4"}}},
      {"hash-layers", {{"router", "hash"}, {"top_k", "1"}}},
      {"base-sinkhorn", {{"top_k", "1"}, {"selection", "sinkhorn"}, {"scorer", "sigmoid"}}},
  };
  ASSERT_EQ(expected.size(), router_presets().size());
  for (const auto& [name, values] : expected) {
    Values all = values_of({});
    for (const auto* layer : {&plain, &values}) {
      for (const auto& [option, text] : *layer) all.at(option) = text;
    }
    all["router_preset"] = name;
    const Values found = values_of(preset(name));
    for (const auto& [option, text] : all) EXPECT_EQ(found.at(option), text) << name << ": " << option;
  }
}

// S = 1000, E = 64, k = 2, cf = 1.25, worked out by hand from each system's formula.
TEST(RouterPresetTest, HaveTheSlotsOfTheSystems) {
  const std::map<std::string, Index> expected = {
      {"gshard", 20},          // int(19.53) = 19, up to a multiple of 4
      {"switch", 19},          // int(1000 * 1.25 / 64) = int(19.53)
      {"st-moe", 19},          // the same: without k
      {"megatron", 40},        // ceil(31.25 * 1.25) = ceil(39.06)
      {"tutel", 40},           // 2 int(1.25 * 16)
      {"deepspeed", 40},       // ceil(15.625 * 1.25 * 2) = ceil(39.06)
      {"fastmoe-gshard", 39},  // int(1250 * 2 / 64) = int(39.06)
      {"expert-choice", 20},   // round(19.53)
  };
  for (const auto& [name, slots_expected] : expected)
    EXPECT_EQ(slots(preset(name), 1.25, 1000), slots_expected) << name;
  EXPECT_EQ(slots(preset("switch"), 1.25, 10), 4) << "at least 4";
  EXPECT_EQ(slots(preset("gshard"), preset("gshard").capacity_factor, 1024), 32) << "2 S / E";
  for (const std::string name : {"mixtral", "deepseek-v3", "hash-layers", "base-sinkhorn", "megatron"}) {
    EXPECT_EQ(slots(preset(name), preset(name).capacity_factor, 1000), 1000) << name;
  }
}

TEST(RouterPresetTest, FollowTheNumberOfChoicesWhereTheSystemDoes) {
  const auto deepspeed = [](const std::string& k) {
    return values_of(settled({{"router_preset", "deepspeed"}, {"top_k", k}}));
  };
  EXPECT_EQ(deepspeed("1").at("priority"), "random");
  EXPECT_EQ(deepspeed("1").at("normalise"), "none");
  EXPECT_EQ(deepspeed("1").at("second_policy"), "all");
  EXPECT_EQ(deepspeed("4").at("priority"), "probability");
  EXPECT_EQ(deepspeed("4").at("normalise"), "kept");
  EXPECT_EQ(deepspeed("4").at("balance_count"), "all");
  for (const std::string name : {"megatron", "tutel"}) {
    EXPECT_EQ(values_of(settled({{"router_preset", name}, {"top_k", "1"}})).at("normalise"), "none") << name;
  }
  EXPECT_EQ(values_of(settled({{"router_preset", "mixtral"}, {"top_k", "4"}})).at("c_balance"), "0.08");
  EXPECT_EQ(values_of(settled({{"router_preset", "base-sinkhorn"}, {"top_k", "2"}})).at("scorer"), "softmax");
}

TEST(RouterPresetTest, DeepseekLimitsNodesWhereItsModelDoesOrBlocksAreGiven) {
  const RouterOptions model = preset("deepseek-v3", 256);
  EXPECT_EQ(model.blocks, 8);
  EXPECT_EQ(model.blocks_kept, 4);
  const RouterOptions given = settled({{"router_preset", "deepseek-v3"}, {"experts", "32"}, {"blocks", "4"}});
  EXPECT_EQ(given.blocks_kept, 2);
  EXPECT_NO_THROW(validate(given));
  EXPECT_EQ(departures_from_preset(given).size(), 2U);
}

// Every option but the preset's name, each at a value that no preset and no default has.
const Values unusual = {{"router", "random"},
                        {"experts", "24"},
                        {"top_k", "5"},
                        {"gate", "cosine"},
                        {"gate_width", "17"},
                        {"scorer", "sigmoid"},
                        {"router_bias", "yes"},
                        {"selection", "sinkhorn"},
                        {"sinkhorn_iterations", "3"},
                        {"blocks", "6"},
                        {"blocks_kept", "5"},
                        {"jitter", "0.3"},
                        {"noise", "yes"},
                        {"normalise", "kept"},
                        {"gate_scale", "7"},
                        {"second_policy", "random_late"},
                        {"second_threshold", "0.7"},
                        {"capacity_factor", "3.5"},
                        {"eval_capacity_factor", "4.5"},
                        {"capacity_formula", "megablocks"},
                        {"capacity_scope", "step"},
                        {"min_capacity", "9"},
                        {"priority", "best_token"},
                        {"overflow", "reroute"},
                        {"c_balance", "0.5"},
                        {"balance_scope", "step"},
                        {"balance_count", "first"},
                        {"c_z", "0.6"},
                        {"c_importance", "0.7"},
                        {"selection_bias", "yes"},
                        {"bias_rate", "0.9"},
                        {"load_weight", "1,2"},
                        {"activation", "0.5,0.25"},
                        {"rules", "default -> 0"}};

TEST(RouterPresetTest, GiveWayToWhatIsGiven) {
  ASSERT_EQ(unusual.size() + 1, values_of({}).size()) << "an option is missing from this test";
  for (const RouterPreset& kind : router_presets()) {
    const Values untouched = values_of(preset(std::string(kind.name), 24));
    for (const auto& [name, text] : unusual) {
      SCOPED_TRACE(fmt::format("{}, {} = {}", kind.name, name, text));
      const Values found = values_of(settled({{"router_preset", std::string(kind.name)}, {name, text}}));
      EXPECT_EQ(found.at(name), text);
    }
    Values all = unusual;
    all["router_preset"] = kind.name;
    EXPECT_EQ(values_of(settled(all)), all);
    EXPECT_NE(untouched, all);
  }
}

// What a run writes down makes the same run again, and a second preset over it changes nothing.
TEST(RouterPresetTest, AreTheSameWhenReadBack) {
  for (const RouterPreset& kind : router_presets()) {
    const Values once = values_of(settled({{"router_preset", std::string(kind.name)}, {"c_balance", "0.5"}}));
    EXPECT_EQ(values_of(settled(once)), once) << kind.name;
    EXPECT_EQ(departures_from_preset(with_values(once)).size(), 1U) << kind.name;
  }
  EXPECT_EQ(departures_from_preset(settled({{"router_preset", "switch"}, {"jitter", "0.1"}})),
            std::vector<std::string>{"jitter = 0.1 (switch: 0.01)"});
  RouterOptions none;
  apply_preset(none, {});
  EXPECT_EQ(values_of(none), values_of({}));
}

TEST(RouterPresetTest, AnUnknownOneListsTheValidOnes) {
  RouterOptions options;
  options.router_preset = "swich";
  for (const auto& use : {+[](RouterOptions& o) { apply_preset(o, {}); }, +[](RouterOptions& o) { validate(o); }}) {
    try {
      use(options);
      ADD_FAILURE() << "accepted";
    } catch (const InputError& error) {
      EXPECT_NE(std::string(error.what()).find("'swich'; did you mean switch?"), std::string::npos) << error.what();
      for (const RouterPreset& kind : router_presets()) {
        EXPECT_NE(error.hint().find(kind.name), std::string::npos) << error.hint();
      }
    }
  }
}

}  // namespace
}  // namespace conclave::gating
