// SPDX-License-Identifier: BSD-3-Clause
#include "apps/expert_words.hpp"

#include "runtime/core/parse_number.hpp"

namespace conclave::apps {

train::ExpertsOfLayers experts_named(std::string_view option, const std::vector<std::string>& words, Index layers,
                                     Index in_word) {
  train::ExpertsOfLayers experts(static_cast<std::size_t>(layers));
  for (const std::string& word : words) {
    const auto refuse = [&](const std::string& what) {
      throw InputError(fmt::format("{}: '{}' {}", option, word, what),
                       in_word == 1 ? "write LAYER:EXPERT, or EXPERT for every layer: 0:3,1:5"
                                    : "write LAYER:A+B, or A+B for every layer: 0:3+4,1:0+5");
    };
    const std::size_t colon = word.find(':');
    const auto layer = parse_number<Index>(std::string_view(word).substr(0, colon == std::string::npos ? 0 : colon));
    if (colon != std::string::npos && !layer) refuse("has no number before ':'");
    if (layer && (*layer < 0 || *layer >= layers)) refuse(fmt::format("is in none of the {} MoE layers", layers));
    std::vector<ExpertId> named;
    for (std::size_t at = colon == std::string::npos ? 0 : colon + 1; at <= word.size();) {
      const std::size_t end = std::min(word.find('+', at), word.size());
      const auto expert = parse_number<Index>(std::string_view(word).substr(at, end - at));
      if (!expert) refuse("is no expert");
      named.emplace_back(*expert);
      at = end + 1;
    }
    if (std::ssize(named) != in_word) refuse(fmt::format("names {} experts", named.size()));
    for (Index l = layer ? *layer : 0; l < (layer ? *layer + 1 : layers); ++l) {
      auto& of_layer = experts[static_cast<std::size_t>(l)];
      of_layer.insert(of_layer.end(), named.begin(), named.end());
    }
  }
  return experts;
}

}  // namespace conclave::apps
