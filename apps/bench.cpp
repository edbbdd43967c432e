// SPDX-License-Identifier: BSD-3-Clause
// The command `bench`: measures parts of the program on this machine, each beside what it cannot be faster than.
#include "apps/bench.hpp"

#include "apps/command.hpp"
#include "apps/launch.hpp"
#include "apps/progress.hpp"
#include "apps/router_options.hpp"

#include <algorithm>
#include <chrono>

namespace conclave::apps {

double Timings::median() const {
  std::vector<double> sorted = seconds;
  std::sort(sorted.begin(), sorted.end());
  return sorted[sorted.size() / 2];
}

double Timings::least() const { return *std::min_element(seconds.begin(), seconds.end()); }

double timed(const comm::Communicator& world, const std::function<void()>& work) {
  using Clock = std::chrono::steady_clock;
  world.barrier();
  const Clock::time_point start = Clock::now();
  work();
  return world.max(std::chrono::duration<double>(Clock::now() - start).count());
}

void fill_normal(const Random& random, Index which, std::span<float> values) {
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] = static_cast<float>(random.normal(static_cast<Index>(i), which));
  }
}

std::string drop_text(double capacity_factor, Index claims, Index dropped) {
  const double rate = claims == 0 ? 0.0 : 100.0 * static_cast<double>(dropped) / static_cast<double>(claims);
  return fmt::format("capacity factor {}{}: {:.2f} % of the claims dropped", capacity_factor,
                     capacity_factor == 0.0 ? " (no limit)" : "", rate);
}

namespace {

const std::vector<Measurement>& measurements() {
  static const std::vector<Measurement> all = {
      {"moe-layer", "a layer's forward and backward, beside the bare products of its experts", bench_moe_layer},
      {"router", "routing, forward and backward, beside the same", bench_router},
  };
  return all;
}

void describe(BenchOptions& o, OptionSections& sections) {
  OptionTable& table = sections.section("Measurement");
  table.add("tokens", o.tokens, "tokens of a step, over all ranks");
  table.add("groups", o.groups, "groups they form");
  table.add("width", o.width, "features of a token");
  table.add("repeats", o.repeats, "pairs of timings, after one that is not counted");
  conclave::describe(o.compute, table);
  table.add("explain_router", o.explain_router, "say what the router will do with these options, and stop");
  gating::describe(o.router, sections.section("Router"));
  experts::describe(o.experts, sections.section("Experts"));
}

void validate(const BenchOptions& o) {
  gating::validate(o.router);
  if (o.tokens < 1 || o.groups < 1 || o.tokens % o.groups != 0) {
    throw InputError(fmt::format("{} tokens in {} groups", o.tokens, o.groups), "groups must divide tokens");
  }
  if (o.width < 1) throw InputError(fmt::format("width = {}", o.width), "give at least 1");
  experts::validate(o.experts, o.width);
  if (o.repeats < 1) throw InputError(fmt::format("repeats = {}", o.repeats), "give at least 1");
  apply(o.compute);
}

int run(const BenchOptions& given, const Session& session) {
  BenchOptions o = given;
  gating::apply_preset(o.router, session.given);
  validate(o);
  if (o.explain_router) {
    if (session.world.is_root()) {
      fmt::print("{}", router_explanation(o.router, {o.tokens / o.groups, o.groups}, terminal_width(stdout)));
    }
    return 0;
  }
  std::vector<std::string> names;
  for (const Measurement& m : measurements()) {
    if (session.arguments.size() == 1 && session.arguments.front() == m.name) {
      m.run(o, session.world);
      return 0;
    }
    names.emplace_back(m.name);
  }
  throw InputError(fmt::format("bench what? '{}' is not known", fmt::join(session.arguments, " ")),
                   fmt::format("the measurements are: {}", fmt::join(names, ", ")));
}

}  // namespace

Command bench_command() {
  return make_command<BenchOptions>(
      "bench", "measure on this machine: moe-layer, router; each beside the bare products of the experts", "WHAT",
      describe, run);
}

}  // namespace conclave::apps
