// SPDX-License-Identifier: BSD-3-Clause
#include "gating/router.hpp"

#include "gating/topk_router.hpp"

namespace conclave::gating {

const std::vector<RouterKind>& router_kinds() {
  static const std::vector<RouterKind> kinds = {
      {"topk", "the k best experts of each token", make_topk_router<float>, make_topk_router<double>},
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
