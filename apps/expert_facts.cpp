// SPDX-License-Identifier: BSD-3-Clause
#include "apps/expert_facts.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <span>

namespace conclave::apps {
namespace {

using train::WholeTensors;

// All values below a path, one behind the other.
std::vector<float> values_below(const WholeTensors& tensors, const std::string& prefix) {
  std::vector<float> values;
  for (auto at = tensors.lower_bound(prefix); at != tensors.end() && at->first.starts_with(prefix); ++at) {
    values.insert(values.end(), at->second.values.begin(), at->second.values.end());
  }
  return values;
}

double dot(std::span<const float> a, std::span<const float> b) {
  double sum = 0.0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += static_cast<double>(a[i]) * static_cast<double>(b[i]);
  return sum;
}

double cosine(const std::vector<float>& a, const std::vector<float>& b) {
  const double norms = a.size() == b.size() ? std::sqrt(dot(a, a) * dot(b, b)) : 0.0;
  return norms > 0.0 ? dot(a, b) / norms : 0.0;
}

double router_norm(const WholeTensors& tensors, const std::string& layer, Index expert) {
  const auto router = tensors.find(layer + "router_weight");
  if (router == tensors.end() || router->second.shape.size() != 2 || router->second.shape[0] <= expert) return 0.0;
  const auto cols = static_cast<std::size_t>(router->second.shape[1]);
  const auto row = std::span(router->second.values).subspan(static_cast<std::size_t>(expert) * cols, cols);
  return std::sqrt(dot(row, row));
}

void look_at_states(const WholeTensors& tensors, const std::string& expert, ExpertFacts& facts) {
  for (auto at = tensors.lower_bound(train::optimizer_group); at != tensors.end(); ++at) {
    if (!at->first.starts_with(train::optimizer_group) || at->first.find(expert) == std::string::npos) continue;
    const std::vector<float>& values = at->second.values;
    if (!facts.has_state) facts.is_untouched = true;
    facts.has_state = true;
    facts.is_untouched =
        facts.is_untouched && std::all_of(values.begin(), values.end(), [](float v) { return v == 0.0F; });
  }
}

// The layers and experts that there are, whatever the options say: "/params/block/3/moe/" -> {"0000", "0001", ...}.
std::map<std::string, std::vector<std::string>> experts_of_layers(const WholeTensors& tensors) {
  constexpr std::string_view in_layer = "expert/";
  std::map<std::string, std::vector<std::string>> experts;
  for (const auto& [name, tensor] : tensors) {
    const std::size_t at = name.find("/moe/expert/");
    if (!name.starts_with(train::parameter_group) || at == std::string::npos) continue;
    const std::size_t number = at + std::string_view("/moe/").size() + in_layer.size();
    std::vector<std::string>& of_layer = experts[name.substr(0, at + std::string_view("/moe/").size())];
    const std::string expert = name.substr(number, name.find('/', number) - number);
    if (of_layer.empty() || of_layer.back() != expert) of_layer.push_back(expert);
  }
  return experts;
}

void add_layer(const WholeTensors& tensors, const std::string& layer, const std::vector<std::string>& experts,
               std::vector<ExpertFacts>& facts) {
  std::vector<std::vector<float>> values;
  for (const std::string& expert : experts) values.push_back(values_below(tensors, layer + "expert/" + expert + "/"));
  for (std::size_t e = 0; e < experts.size(); ++e) {
    ExpertFacts& f = facts.emplace_back();
    f.layer = layer.substr(train::parameter_group.size());
    f.expert = ExpertId{static_cast<Index>(e)};
    f.norm = std::sqrt(dot(values[e], values[e]));
    f.router_norm = router_norm(tensors, layer, f.expert.value());
    for (const std::vector<float>& other : values) f.cosines.push_back(cosine(values[e], other));
    look_at_states(tensors, "/" + f.layer + "expert/" + experts[e] + "/", f);
  }
}

}  // namespace

std::vector<ExpertFacts> expert_facts(const WholeTensors& tensors) {
  std::vector<ExpertFacts> facts;
  for (const auto& [layer, experts] : experts_of_layers(tensors)) add_layer(tensors, layer, experts, facts);
  return facts;
}

std::string text_of(const std::vector<ExpertFacts>& facts) {
  std::string text = fmt::format("{:<14}{:>8}{:>12}{:>14}{:>14}{:>10}{:>14}\n", "layer", "expert", "norm", "router row",
                                 "most alike", "cosine", "mean cosine");
  for (const ExpertFacts& f : facts) {
    Index nearest = -1;
    double sum = 0.0;
    const auto cosine_with = [&](Index e) { return f.cosines[static_cast<std::size_t>(e)]; };
    for (Index e = 0; e < std::ssize(f.cosines); ++e) {
      if (e == f.expert.value()) continue;
      sum += cosine_with(e);
      if (nearest < 0 || cosine_with(e) > cosine_with(nearest)) nearest = e;
    }
    text += fmt::format("{:<14}{:>8}{:>12.4f}{:>14.4f}", f.layer, f.expert.value(), f.norm, f.router_norm);
    if (nearest >= 0) {
      const double mean = sum / static_cast<double>(f.cosines.size() - 1);
      text += fmt::format("{:>14}{:>10.4f}{:>14.4f}", nearest, cosine_with(nearest), mean);
    }
    text += f.is_untouched ? "  dead: no gradient has reached it\n" : "\n";
  }
  return text;
}

}  // namespace conclave::apps
