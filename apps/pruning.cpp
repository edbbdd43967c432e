// SPDX-License-Identifier: BSD-3-Clause
#include "apps/pruning.hpp"

#include <algorithm>
#include <cmath>
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

}  // namespace conclave::apps
