// SPDX-License-Identifier: BSD-3-Clause
#include "gating/router.hpp"

#include "gating/bernoulli_router.hpp"
#include "gating/expert_choice_router.hpp"
#include "gating/hash_router.hpp"
#include "gating/least_loaded_router.hpp"
#include "gating/round_robin_router.hpp"
#include "gating/rule_router.hpp"
#include "gating/topk_router.hpp"

namespace conclave::gating {

template <class T>
void Router<T>::route(ParameterView<const T> parameters, const RouterInput<T>& input, RouterTape<T>& tape) const {
  choose(parameters, input, tape);
  serve(input, tape);
  settle(input, tape);
}

template <class T>
void Router<T>::serve(const RouterInput<T>& input, RouterTape<T>& tape) const {
  tape.serving.resize(tape.choices.rows(), tape.choices.cols());
  if (tape.choices.size() == 0) return;
  serve_claims<T>({tape.choices.view(), tape.key.view(), tape.reroute_by, tape.refused.view()},
                  capacity_rule(input.training, input.x.rows), tape.serving.view());
}

template <class T>
CapacityRule Router<T>::capacity_rule(bool training, Index num_tokens) const {
  const double factor = training ? options_.capacity_factor : options_.eval_capacity_factor;
  // A random order is drawn in training only.
  const bool by_position = options_.priority == Priority::random && !training;
  return {options_.experts,
          expert_capacity(options_.capacity_formula, factor, mean_choices(), num_tokens, options_.experts,
                          options_.min_capacity),
          by_position ? Priority::position : options_.priority, options_.overflow};
}

template class Router<float>;
template class Router<double>;

const std::vector<RouterKind>& router_kinds() {
  static const std::vector<RouterKind> kinds = {
      {"topk", "the k best experts of each token", true, make_topk_router<float>, make_topk_router<double>},
      {"expert_choice", "each expert takes its best tokens", true, make_expert_choice_router<float>,
       make_expert_choice_router<double>},
      {"hash", "by a hash of the token's id", false, make_hash_router<float>, make_hash_router<double>},
      {"random", "at random", false, make_random_router<float>, make_random_router<double>},
      {"round_robin", "in turn", false, make_round_robin_router<float>, make_round_robin_router<double>},
      {"least_loaded", "the experts with the fewest claims so far", false, make_least_loaded_router<float>,
       make_least_loaded_router<double>},
      {"rule", "as a rule file says", false, make_rule_router<float>, make_rule_router<double>},
      {"bernoulli", "each expert with its own probability", false, make_bernoulli_router<float>,
       make_bernoulli_router<double>},
  };
  return kinds;
}

const RouterKind& find_router(std::string_view name) {
  std::vector<std::string> names;
  for (const RouterKind& kind : router_kinds()) {
    if (kind.name == name) return kind;
    names.emplace_back(kind.name);
  }
  throw InputError(fmt::format("there is no router '{}'{}", name, did_you_mean(nearest_names(name, names))),
                   fmt::format("the routers are: {}", fmt::join(names, ", ")));
}

std::string router_names() {
  std::vector<std::string> names;
  for (const RouterKind& kind : router_kinds()) names.push_back(fmt::format("{} ({})", kind.name, kind.help));
  return fmt::format("{}", fmt::join(names, ", "));
}

template <>
std::unique_ptr<Router<float>> make_router(const RouterOptions& options, Index seed, Index width,
                                           ParameterList& parameters, const std::string& prefix) {
  return find_router(options.router).make_float(options, seed, width, parameters, prefix);
}

template <>
std::unique_ptr<Router<double>> make_router(const RouterOptions& options, Index seed, Index width,
                                            ParameterList& parameters, const std::string& prefix) {
  return find_router(options.router).make_double(options, seed, width, parameters, prefix);
}

}  // namespace conclave::gating
