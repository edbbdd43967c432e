// SPDX-License-Identifier: BSD-3-Clause
#include "apps/pruning.hpp"

#include "runtime/core/vector_kernels.hpp"
#include "runtime/train/replicated_tensors.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <tuple>

namespace conclave::apps {

Index pruned_experts(double asked, const model::ModelOptions& o) {
  const Index most = o.moe_every == 0 ? 0 : o.router.experts - std::max<Index>(o.router.top_k, 1);
  const bool is_number = asked > 0.0 && asked < 1e6 && (asked < 1.0 || asked == std::floor(asked));
  const Index count =
      !is_number ? 0 : static_cast<Index>(asked < 1.0 ? asked * static_cast<double>(o.router.experts) : asked);
  if (count >= 1 && count <= most) return count;
  throw InputError(
      fmt::format("prune_experts = {} of {} experts, of which a token chooses {}", asked,
                  o.moe_every == 0 ? 0 : o.router.experts, o.router.top_k),
      most < 1 ? "there is none to remove" : fmt::format("give a part below 1 of one or more, or 1 to {}", most));
}

std::vector<ExpertWorth> worth_of_experts(LoadedModel& loaded, const MeasureOptions& o, const Session& session) {
  const train::Evaluation whole = measure(loaded, o, session);
  std::vector<ExpertWorth> worth;
  for (std::size_t l = 0; l < loaded.model->moe_layers().size(); ++l) {
    experts::ExpertShard<float>& shard = loaded.model->moe_layers()[l]->shard();
    const std::vector<Index>& load = whole.layers[l].load;
    const double claims = std::max(1.0, static_cast<double>(std::accumulate(load.begin(), load.end(), Index{0})));
    for (LocalExpertId e; e < LocalExpertId{shard.num_experts()}; ++e) {
      const Index own = load[static_cast<std::size_t>(shard.global(e).value())];
      worth.push_back({static_cast<Index>(l), shard.global(e), static_cast<double>(own) / claims, 0.0});
      if (own == 0) continue;
      const std::span<float> values = shard.values(e);
      const std::vector<float> kept(values.begin(), values.end());
      std::fill(values.begin(), values.end(), 0.0F);
      worth.back().rise = measure(loaded, o, session).loss - whole.loss;
      std::copy(kept.begin(), kept.end(), values.begin());
    }
  }
  return worth;
}

train::ExpertsOfLayers least_worth(std::vector<ExpertWorth> worth, Index count) {
  std::sort(worth.begin(), worth.end(), [](const ExpertWorth& a, const ExpertWorth& b) {
    return std::tuple(a.layer, a.rise, a.load, b.expert) < std::tuple(b.layer, b.rise, b.load, a.expert);
  });
  train::ExpertsOfLayers least;
  for (const ExpertWorth& w : worth) {
    if (w.layer >= std::ssize(least)) least.emplace_back();
    if (std::ssize(least.back()) < count) least.back().push_back(w.expert);
  }
  return least;
}

std::string text_of(const std::vector<ExpertWorth>& worth) {
  std::string text = fmt::format("{:>6}{:>8}{:>10}{:>22}\n", "layer", "expert", "load", "loss without it");
  for (const ExpertWorth& w : worth) {
    text += fmt::format("{:>6}{:>8}{:>8.2f} %{:>+22.6f}\n", w.layer, w.expert.value(), 100.0 * w.load, w.rise);
  }
  return text;
}

namespace {

constexpr std::size_t most_candidates = 3;

// Of the layer's experts that stay, those of the same shape, the most similar routing rows first.
std::vector<ExpertId> candidates(LoadedModel& loaded, const model::MoeLayer<float>& layer, ExpertId expert,
                                 const std::vector<ExpertId>& pruned) {
  const std::vector<experts::ExpertShape>& shapes = layer.shape().experts;
  const auto shape_of = [&](ExpertId e) { return shapes[static_cast<std::size_t>(e.value())]; };
  const train::NamedTensors tensors = train::replicated_tensors(*loaded.model);
  const auto rows = tensors.find(layer.prefix() + "router_weight");
  const auto likeness = [&](ExpertId e) {
    if (rows == tensors.end()) return 0.0;
    const auto row = [&](ExpertId of) { return rows->second.row(of.value()); };
    const double lengths = std::sqrt(sum_of_squares<float>(row(e)) * sum_of_squares<float>(row(expert)));
    return lengths > 0.0 ? static_cast<double>(dot<float>(row(e), row(expert))) / lengths : 0.0;
  };
  std::vector<std::pair<double, ExpertId>> found;
  for (ExpertId e; e < ExpertId{std::ssize(shapes)}; ++e) {
    if (std::ranges::find(pruned, e) == pruned.end() && shape_of(e) == shape_of(expert)) {
      found.emplace_back(-likeness(e), e);
    }
  }
  if (found.empty()) {
    throw InputError(fmt::format("expert {} of MoE layer {} has none of its kind and size to be merged into",
                                 expert.value(), layer.layer()),
                     "use --prune-by remove, or prune fewer");
  }
  std::ranges::sort(found);
  if (rows != tensors.end() && found.size() > most_candidates) found.resize(most_candidates);
  std::vector<ExpertId> result;
  for (const auto& [unlikeness, e] : found) result.push_back(e);
  return result;
}

}  // namespace

std::vector<Merger> mergers_of(LoadedModel& loaded, const train::ExpertsOfLayers& pruned, const MeasureOptions& o,
                               const Session& session) {
  const double whole = measure(loaded, o, session).loss;
  std::vector<Merger> mergers;
  for (std::size_t l = 0; l < pruned.size(); ++l) {
    model::MoeLayer<float>& layer = *loaded.model->moe_layers()[l];
    const auto values = [&](ExpertId e) { return layer.shard().values(LocalExpertId{e.value()}); };  // all are here
    for (const ExpertId e : pruned[l]) {
      const std::vector<float> kept(values(e).begin(), values(e).end());
      std::optional<Merger> best;
      for (const ExpertId into : candidates(loaded, layer, e, pruned[l])) {
        std::ranges::copy(values(into), values(e).begin());
        const double rise = measure(loaded, o, session).loss - whole;
        if (!best || rise < best->rise) best = {static_cast<Index>(l), e, into, rise};
      }
      std::ranges::copy(kept, values(e).begin());
      mergers.push_back(*best);
    }
  }
  return mergers;
}

std::vector<std::vector<train::ExpertOrigin>> merged_origins(const std::vector<Merger>& mergers,
                                                             const std::vector<ExpertWorth>& worth, Index num_layers) {
  std::map<std::pair<Index, ExpertId>, double> loads;
  for (const ExpertWorth& w : worth) loads[{w.layer, w.expert}] = w.load;
  std::vector<std::map<ExpertId, train::ExpertOrigin>> groups(static_cast<std::size_t>(num_layers));
  for (const Merger& m : mergers) {
    train::ExpertOrigin& origin = groups[static_cast<std::size_t>(m.layer)][m.into];
    if (origin.experts.empty()) origin.experts.push_back(m.into);
    origin.experts.push_back(m.expert);
  }
  std::vector<std::vector<train::ExpertOrigin>> result(groups.size());
  for (std::size_t l = 0; l < groups.size(); ++l) {
    for (auto& [into, origin] : groups[l]) {
      double whole = 0.0;
      for (const ExpertId e : origin.experts) whole += loads[{static_cast<Index>(l), e}];
      for (const ExpertId e : origin.experts) {
        origin.shares.push_back(whole > 0.0 ? loads[{static_cast<Index>(l), e}] / whole
                                            : 1.0 / static_cast<double>(origin.experts.size()));
      }
      result[l].push_back(std::move(origin));
    }
  }
  return result;
}

std::string text_of(const std::vector<Merger>& mergers) {
  std::string text = fmt::format("{:>6}{:>8}{:>10}{:>22}\n", "layer", "expert", "into", "loss by that instead");
  for (const Merger& m : mergers) {
    text += fmt::format("{:>6}{:>8}{:>10}{:>+22.6f}\n", m.layer, m.expert.value(), m.into.value(), m.rise);
  }
  return text;
}

}  // namespace conclave::apps
