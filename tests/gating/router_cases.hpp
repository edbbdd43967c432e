// SPDX-License-Identifier: BSD-3-Clause
// Random routers with random groups to route, numbered: case n is the same everywhere.
#pragma once

#include "gating/router.hpp"
#include "tests/gating/reference_router.hpp"

namespace conclave::test {

/// A row of draws.
class Draws {
 public:
  explicit Draws(Index number) : random_(number, RandomStream::initial, 400) {}
  [[nodiscard]] double uniform() { return random_.uniform(next_++, 0); }
  [[nodiscard]] double normal() { return random_.normal(next_++, 0); }
  /// 0, 1, ..., count - 1.
  [[nodiscard]] Index below(Index count) { return static_cast<Index>(uniform() * static_cast<double>(count)); }
  [[nodiscard]] bool yes() { return below(2) == 1; }
  template <class T>
  [[nodiscard]] T pick(std::initializer_list<T> values) {
    return values.begin()[below(static_cast<Index>(values.size()))];
  }
  [[nodiscard]] Row normals(Index count, double deviation) {
    Row values;
    for (Index i = 0; i < count; ++i) values.push_back(deviation * normal());
    return values;
  }

 private:
  Random random_;
  Index next_ = 0;
};

/// A router, its parameters and one or more groups for it.
struct RouterCase {
  gating::RouterOptions options;
  Index seed = 0;
  Index width = 0;
  Index num_tokens = 0;  // of a group
  Index num_groups = 1;
  Index layer = 0;
  Index step = 0;
  Index first_token = 0;  // of the first group
  bool training = true;
  Row x;               // [num_groups, num_tokens, width]
  Row selection_bias;  // [experts] or empty
  ParameterList parameters;
  Row values;  // of the parameters
  std::unique_ptr<gating::Router<double>> router;
};

/// Options over the whole range of what the top-k router takes.
inline gating::RouterOptions random_options(Draws& draw) {
  using namespace gating;
  RouterOptions o;
  o.experts = draw.pick<Index>({1, 2, 3, 4, 6, 8, 8, 12});
  o.top_k = 1 + draw.below(std::min<Index>(o.experts, 4));
  for (const Index blocks : {Index{2}, Index{3}, Index{4}, o.experts}) {
    if (o.experts % blocks == 0 && draw.yes()) o.blocks = blocks;
  }
  const Index block_size = o.experts / o.blocks;
  const Index least_kept = (o.top_k + block_size - 1) / block_size;
  o.blocks_kept = least_kept + draw.below(o.blocks - least_kept + 1);
  o.scorer = draw.pick({Scorer::softmax, Scorer::sigmoid});
  o.router_bias = draw.yes();
  o.jitter = draw.pick({0.0, 0.1, 0.5});
  o.noise = draw.yes();
  o.normalise = draw.pick({Normalise::none, Normalise::selected, Normalise::kept});
  o.gate_scale = draw.pick({1.0, 2.5, -0.5});
  o.second_policy = draw.pick({SecondPolicy::all, SecondPolicy::random});
  o.capacity_factor = draw.pick({0.0, 0.3, 0.5, 0.75, 1.0, 1.25, 100.0});
  o.eval_capacity_factor = draw.pick({0.0, 0.4, 1.0, 2.0});
  o.min_capacity = draw.pick<Index>({0, 0, 1, 2, 30});
  o.priority = draw.pick({Priority::position, Priority::probability});
  o.overflow = draw.pick({Overflow::drop, Overflow::reroute});
  o.balance_count = draw.pick({BalanceCount::all, BalanceCount::first});
  o.balance_scope = draw.pick({BalanceScope::group, BalanceScope::step});
  o.selection_bias = draw.yes();
  return o;
}

/// Builds the router of c.options and draws its parameters, its bias and the groups.
inline void fill_case(RouterCase& c, Draws& draw) {
  gating::validate(c.options);
  c.router = gating::make_router<double>(c.options, c.seed, c.width, c.parameters, "router/");
  c.values = draw.normals(c.parameters.size(), 0.7);
  if (c.options.selection_bias) c.selection_bias = draw.normals(c.options.experts, 0.3);
  c.x = draw.normals(c.num_groups * c.num_tokens * c.width, 1.0);
}

inline RouterCase random_case(Index number) {
  Draws draw(number);
  RouterCase c;
  c.options = random_options(draw);
  c.seed = draw.below(1000);
  c.width = 1 + draw.below(9);
  c.num_tokens = draw.pick<Index>({0, 1, 2, 5, 8, 13, 20, 20});
  c.layer = draw.below(5);
  c.step = draw.below(100);
  c.first_token = draw.below(1000);
  c.training = draw.below(4) != 0;
  fill_case(c, draw);
  return c;
}

inline gating::RouterInput<double> input_of(const RouterCase& c, Index group = 0) {
  gating::RouterInput<double> input;
  const Index size = c.num_tokens * c.width;
  input.x = as_matrix(std::span(c.x).subspan(static_cast<std::size_t>(group * size), static_cast<std::size_t>(size)),
                      c.num_tokens, c.width);
  input.selection_bias = c.selection_bias;
  input.first_token = TokenId{c.first_token + group * c.num_tokens};
  input.layer = c.layer;
  input.step = c.step;
  input.training = c.training;
  return input;
}

/// `rows` rows of `cols` values from `begin` on.
inline Rows rows_at(std::span<const double> values, Index begin, Index rows, Index cols) {
  Rows result;
  for (Index i = 0; i < rows; ++i) {
    const auto row = values.subspan(static_cast<std::size_t>(begin + i * cols), static_cast<std::size_t>(cols));
    result.emplace_back(row.begin(), row.end());
  }
  return result;
}

/// Group `group` of the case, with these parameters and these tokens [num_groups, num_tokens, width] in place of its
/// own.
inline ReferenceInput reference_input(const RouterCase& c, Index group, std::span<const double> values,
                                      std::span<const double> x) {
  ReferenceInput in;
  in.options = c.options;
  in.x = rows_at(x, group * c.num_tokens * c.width, c.num_tokens, c.width);
  for (const ParameterEntry& entry : c.parameters.entries()) {
    const Rows rows = rows_at(values, entry.tensor.offset, entry.tensor.rows, entry.tensor.cols);
    if (entry.name == "router/router_weight") in.weight = rows;
    if (entry.name == "router/noise_weight") in.noise_weight = rows;
    if (entry.name == "router/router_bias") in.bias = rows[0];
  }
  in.selection_bias = c.selection_bias;
  in.seed = c.seed;
  in.layer = c.layer;
  in.step = c.step;
  in.first_token = c.first_token + group * c.num_tokens;
  in.training = c.training;
  return in;
}

inline ReferenceInput reference_input(const RouterCase& c) { return reference_input(c, 0, c.values, c.x); }

/// The case in words, for a failing test.
inline std::string describe_case(const RouterCase& c) {
  gating::RouterOptions options = c.options;
  OptionTable table;
  describe(options, table);
  std::string text = fmt::format("num_tokens={} width={} training={}", c.num_tokens, c.width, c.training);
  for (const Option& option : table.options()) text += fmt::format(" {}={}", option.name, option.text());
  return text;
}

}  // namespace conclave::test
