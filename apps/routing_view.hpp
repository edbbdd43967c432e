// SPDX-License-Identifier: BSD-3-Clause
// Which experts serve which bytes, as text and as a page.
#pragma once

#include "apps/report_page.hpp"
#include "runtime/train/routing_census.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace conclave::apps {

/// What is told about the experts of one MoE layer.
struct LayerView {
  Index block = 0;  // the number of the layer's block
  Index experts = 0;
  train::LayerCensus census;
};

/// Where a token of the sentence went in one layer: its first expert.
struct PathStep {
  Index expert = -1;  // -1: none had room for it, or none chose it
  double gate = 0.0;
};

/// The way of a text through all MoE layers.
struct SentencePath {
  std::string text;
  std::vector<std::vector<PathStep>> layers;  // [layers][bytes of the text]
};

/// A byte as one word: 'e', space, \n, \x07, <256>.
[[nodiscard]] std::string byte_name(Index token);

/// Per layer: what an expert tells about byte, class of byte and domain [bits], and a line an expert with its share of
/// the claims, the classes of its bytes, and the bytes and domains that it serves beyond their share.
[[nodiscard]] std::string text_of(const std::vector<LayerView>& layers, const std::vector<std::string>& domain_names);

/// A line a byte, a column a layer: first expert and gate, in the expert's colour if `colours` (of a terminal).
[[nodiscard]] std::string text_of(const SentencePath& path, const std::vector<LayerView>& layers, bool colours);

/// The same as sections of a page; the path only if its text is not empty.
[[nodiscard]] std::vector<PageSection> routing_sections(const std::vector<LayerView>& layers,
                                                        const std::vector<std::string>& domain_names,
                                                        const SentencePath& path);

}  // namespace conclave::apps
