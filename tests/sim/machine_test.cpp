// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/sim/machine.hpp"

#include "runtime/core/error.hpp"

#include <gtest/gtest.h>

namespace conclave::sim {
namespace {

constexpr std::size_t at_experts = static_cast<std::size_t>(Phase::experts);

Machine example() {
  Machine m;
  m.compute = {{1, 1, {}}, {4, 1, {}}};
  m.compute[0].phases[at_experts] = {{1e-6, 0.0, 2e-6}, {1e-11, 9e-12, 2e-11}, {1e-10, 1e-10, 1e-10}};
  m.compute[1].phases[at_experts] = {
      {1e-6, 0.0, 2e-6}, {4e-11, 3e-11, 5e-11}, {7e-10, 6e-10, 9e-10}, {2e-10, 0.0, 3e-10}, {5e-9, 4e-9, 6e-9}};
  m.cache_bytes = 3e7;
  m.node = MessageCosts{{{1e-6, 5e-7, 2e-6}, {4e9, 3e9, 5e9}}, {{3e-6, 3e-6, 3e-6}, {8e9, 8e9, 8e9}}, 4096.0, {}};
  m.exchanges = {{"flat", 5000.0, {1.1, 1.0, 1.2}}, {"bruck", 1024.0, {2, 2, 2}}, {"flat", 20000.0, {1.5, 1.3, 1.9}}};
  m.shared_memory = SharedMemoryCosts{{2e-6, 1e-6, 3e-6}, {6e9, 5e9, 7e9}};
  m.file = FileCosts{{1e-3, 0.0, 1e-2}, {5e8, 4e8, 6e8}};
  m.noise = {0.02, 3e-7};
  m.drift_sigma = 0.04;
  m.residual_sigma[at_experts] = 0.05;
  m.residual_sigma[static_cast<std::size_t>(Phase::wait)] = 0.2;
  m.provenance = {"0.1.0", "a CPU", "SkylakeX", "Open MPI 4.1.4", "node17", "2026-11-29T15:54:00Z", 4, 1};
  return m;
}

std::string refusal(const std::string& json) {
  try {
    static_cast<void>(read_machine(json, "m.json"));
  } catch (const InputError& error) {
    EXPECT_FALSE(error.hint().empty()) << error.what();
    return error.what();
  }
  return "none";
}

std::string changed(std::string_view what, std::string_view to) {
  std::string text = machine_text(example());
  const auto begin = text.find(what);
  EXPECT_NE(begin, std::string::npos) << what;
  return text.replace(begin, what.size(), to);
}

TEST(Machine, IsReadBackAsItWasWritten) {
  const Machine m = example();
  EXPECT_EQ(read_machine(machine_text(m), "m.json"), m);
  Machine least;
  least.compute = {{2, 3, {}}};
  EXPECT_EQ(read_machine(machine_text(least), "m.json"), least);
  EXPECT_NE(read_machine(machine_text(least), "m.json"), m);
}

TEST(Machine, OneNumberIsItsOwnInterval) {
  const Machine m = read_machine(
      R"({"version": 3, "cache_bytes": 1e7, "compute": [{"active_ranks": 1, "threads": 1, "phases": {"gate":
          {"s_per_flop": 2e-10, "s_per_byte": [1e-10, 0, 3e-10], "s_per_far_byte": 4e-10, "s_per_element": 1e-9}}}]})",
      "m.json");
  EXPECT_EQ(m.compute[0].of(Phase::gate).s_per_flop, (Fitted{2e-10, 2e-10, 2e-10}));
  EXPECT_DOUBLE_EQ(m.compute[0].of(Phase::gate).seconds({5.0, 1e9, 1e9, 1e8}, 0.25), 0.5);
  EXPECT_EQ(m.compute[0].of(Phase::experts), Rate{});
}

TEST(Machine, RatesAreInterpolatedAndNeverExtrapolated) {
  const Machine m = example();
  const auto s_per_flop = [&](Index ranks) { return m.rates(ranks).of(Phase::experts).s_per_flop.value; };
  EXPECT_EQ(s_per_flop(1), 1e-11);
  EXPECT_DOUBLE_EQ(s_per_flop(2), 2e-11);
  EXPECT_DOUBLE_EQ(m.rates(3).of(Phase::experts).s_per_byte.high, 1e-10 + 2.0 / 3.0 * 8e-10);
  EXPECT_EQ(s_per_flop(4), 4e-11);
  EXPECT_EQ(s_per_flop(64), 4e-11);
  EXPECT_FALSE(m.is_beyond(1));
  EXPECT_FALSE(m.is_beyond(3));
  EXPECT_TRUE(m.is_beyond(5));
}

TEST(Machine, TheLargerAStepTheLessOfItStaysNear) {
  EXPECT_EQ(far_share(0.0, 0.0), 0.0);
  EXPECT_EQ(far_share(1e6, 0.0), 1.0);
  EXPECT_DOUBLE_EQ(far_share(1e7, 3e7), 0.25);
  EXPECT_DOUBLE_EQ(far_share(9e7, 3e7), 0.75);
}

TEST(Machine, NamesWhatItCannotUse) {
  EXPECT_EQ(refusal(changed("\"noise_sigma\"", "\"noise_sgma\"")),
            "m.json: a machine has no key 'noise_sgma'; did you mean noise_sigma?");
  EXPECT_EQ(refusal(changed("\"experts\"", "\"expert\"")), "m.json: phases has no key 'expert'; did you mean experts?");
  EXPECT_EQ(refusal(changed("\"experts\"", "\"wait\"")), "m.json: phases has a rate of 'wait'");
  EXPECT_EQ(refusal(changed("\"version\": 3", "\"version\": 1")), "m.json: version 1 of the format of machines");
  EXPECT_EQ(refusal(changed("\"copy_Bps\"", "\"copy_bps\"")),
            "m.json: shared_memory has no key 'copy_bps'; did you mean copy_Bps?");
  EXPECT_EQ(refusal(changed("4096.0", "-1")), "m.json: node rendezvous_from_bytes cannot be -1");
  EXPECT_EQ(refusal(changed("8000000000.0", "0")), "m.json: node rendezvous Bps = 0 within [0, 0]");
  EXPECT_NE(refusal("{").find("m.json: this is no JSON"), std::string::npos);
  EXPECT_EQ(refusal(R"({"version": 3, "compute": []})"), "m.json: 'compute' is no list of rates");
  EXPECT_EQ(refusal(changed("\"cache_bytes\": 30000000.0", "\"cache_bytes\": -1")),
            "m.json: a machine cache_bytes cannot be -1");
  EXPECT_EQ(refusal(changed("s_per_element", "s_per_elements")),
            "m.json: phase experts has no key 's_per_elements'; did you mean s_per_element?");
  EXPECT_EQ(refusal(R"({"version": 3})"), "m.json: a machine has no 'compute'");
}

TEST(Machine, RefusesIntervalsThatDoNotHoldTheirValue) {
  const auto with = [](const std::string& rate) {
    return R"({"version": 3, "cache_bytes": 1e7, "compute": [{"active_ranks": 1, "threads": 1, "phases": {"gate":
               {"s_per_call": 0, "s_per_flop": )" +
           rate + R"(, "s_per_byte": 0}}}]})";
  };
  EXPECT_EQ(refusal(with("[2, 1, 3]")), "none");
  for (const char* bad : {"[2, 3, 4]", "[2, 1, 1.5]", "[2, -1, 3]", "-1", "[2, 1]", "\"2\"", "1e999"}) {
    EXPECT_NE(refusal(with(bad)), "none") << bad;
  }
}

TEST(Machine, ExchangesTakeTheirFactorOfMessagesOfThatSize) {
  const Machine m = example();
  for (const auto& [bytes, factor] : {std::pair{1.0, 1.1}, {5e3, 1.1}, {1e4, 1.3}, {2e4, 1.5}, {1e9, 1.5}}) {
    EXPECT_NEAR(m.over_price("flat", bytes), factor, 1e-12) << bytes;
  }
  EXPECT_EQ(m.over_price("bruck", 5.0), 2.0);
  EXPECT_EQ(m.over_price("shared", 5e3), 1.0) << "was not measured";
}

TEST(Machine, RefusesExchangesThatCannotBe) {
  EXPECT_EQ(refusal(changed("\"bruck\"", "7")), "m.json: an exchange exchange cannot be 7");
  EXPECT_EQ(refusal(changed("20000.0", "5000.0")),
            "m.json: an exchange 'flat' of message_bytes 5000 after one of 5000");
  EXPECT_EQ(refusal(changed("1024.0", "0")), "m.json: an exchange 'bruck' of message_bytes 0 after one of 0");
  EXPECT_EQ(refusal(changed("1.1,", "0,")).substr(0, 30), "m.json: an exchange over_price");
}

TEST(Machine, OneThatCouldNotBeReadIsNotWritten) {
  Machine m = example();
  m.node->eager.Bps = {};
  EXPECT_THROW(static_cast<void>(machine_text(m)), InvariantError);
}

}  // namespace
}  // namespace conclave::sim
