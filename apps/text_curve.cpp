// SPDX-License-Identifier: BSD-3-Clause
#include "apps/text_curve.hpp"

#include <algorithm>
#include <array>
#include <numeric>

namespace conclave::apps {

std::vector<double> means_of(const std::vector<double>& values, Index columns) {
  const auto size = static_cast<Index>(values.size());
  std::vector<double> means;
  for (Index c = 0; c < std::min(columns, size); ++c) {
    const Range part = even_share(size, std::min(columns, size), c);
    means.push_back(std::accumulate(values.begin() + part.begin, values.begin() + part.end, 0.0) /
                    static_cast<double>(part.size()));
  }
  return means;
}

std::string_view text_block(double height) {
  constexpr std::array<std::string_view, 8> blocks{"\u2581", "\u2582", "\u2583", "\u2584",
                                                   "\u2585", "\u2586", "\u2587", "\u2588"};
  return blocks[static_cast<std::size_t>(height * (static_cast<double>(blocks.size()) - 0.001))];
}

std::string text_curve(const std::vector<double>& values, Index columns) {
  const std::vector<double> means = means_of(values, columns);
  if (means.empty()) return "";
  const auto [least, most] = std::ranges::minmax_element(means);
  std::string line;
  for (const double mean : means) line += text_block(*most > *least ? (mean - *least) / (*most - *least) : 0.0);
  return line;
}

}  // namespace conclave::apps
