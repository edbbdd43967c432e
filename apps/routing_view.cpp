// SPDX-License-Identifier: BSD-3-Clause
#include "apps/routing_view.hpp"

#include "apps/heat_map.hpp"
#include "runtime/core/at.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cmath>
#include <numeric>

namespace conclave::apps {
namespace {

constexpr Index most_bytes = 5;  // favourites of an expert that are told
constexpr Index most_domains = 2;

struct InformationRow {
  std::string_view about;
  train::Information bits;
};

std::vector<InformationRow> informations(const LayerView& layer) {
  const auto classes = train::counts_of_classes(layer.census.tokens, layer.experts);
  const auto cols = [&](const std::vector<Index>& counts) { return std::ssize(counts) / layer.experts; };
  std::vector<InformationRow> rows{
      {"byte", train::information(layer.census.tokens, layer.experts, cols(layer.census.tokens))},
      {"byte class", train::information(classes, layer.experts, cols(classes))}};
  if (rows.back().bits.most == 0.0) rows.pop_back();  // all bytes are of one class
  if (!layer.census.domains.empty()) {
    rows.push_back({"domain", train::information(layer.census.domains, layer.experts, cols(layer.census.domains))});
  }
  return rows;
}

template <class Name>
std::string favourites_text(const std::vector<train::Favourite>& favourites, Name name) {
  std::vector<std::string> texts;
  for (const train::Favourite& f : favourites) {
    texts.push_back(fmt::format("{} x{:.2f} ({})", name(f.what), f.lift, f.count));
  }
  return texts.empty() ? "-" : fmt::format("{}", fmt::join(texts, ", "));
}

// The classes that there are bytes of.
std::vector<std::size_t> classes_served(const LayerView& layer) {
  const auto classes = train::counts_of_classes(layer.census.tokens, layer.experts);
  std::vector<std::size_t> served;
  for (std::size_t c = 0; c < at(train::num_character_classes); ++c) {
    for (std::size_t i = c; i < classes.size(); i += at(train::num_character_classes)) {
      if (classes[i] == 0) continue;
      served.push_back(c);
      break;
    }
  }
  return served;
}

/// What is told of one expert.
struct ExpertRow {
  double share = 0.0;                // of the layer's claims
  std::vector<double> class_shares;  // [classes_served] of the expert's claims
  std::string bytes;
  std::string domains;  // empty: none are known
};

std::vector<ExpertRow> expert_rows(const LayerView& layer, const std::vector<std::string>& domain_names) {
  const auto claims = train::claims_of_experts(layer.census.tokens, layer.experts);
  const auto classes = train::counts_of_classes(layer.census.tokens, layer.experts);
  const auto bytes = train::favourites(layer.census.tokens, layer.experts, most_bytes);
  const auto domains = train::favourites(layer.census.domains, layer.experts, most_domains);
  const Index all = std::accumulate(claims.begin(), claims.end(), Index{0});
  const auto ratio = [](Index part, Index whole) {
    return whole == 0 ? 0.0 : static_cast<double>(part) / static_cast<double>(whole);
  };
  std::vector<ExpertRow> rows;
  for (std::size_t e = 0; e < claims.size(); ++e) {
    ExpertRow row{ratio(claims[e], all), {}, favourites_text(bytes[e], byte_name), {}};
    for (const std::size_t c : classes_served(layer)) {
      row.class_shares.push_back(ratio(classes[e * at(train::num_character_classes) + c], claims[e]));
    }
    if (!layer.census.domains.empty()) {
      row.domains = favourites_text(domains[e], [&](Index d) { return domain_names[at(d)]; });
    }
    rows.push_back(std::move(row));
  }
  return rows;
}

std::vector<std::string_view> class_names(const LayerView& layer) {
  std::vector<std::string_view> names;
  for (const std::size_t c : classes_served(layer)) names.push_back(enum_names(train::CharacterClass{})[c].name);
  return names;
}

// How much of what there is to tell.
std::string bar_of(const train::Information& bits) {
  constexpr Index marks = 20;
  const auto told = static_cast<std::size_t>(std::lround(bits.share() * static_cast<double>(marks)));
  return std::string(told, '#') + std::string(at(marks) - told, '.');
}

// Domains that an expert serves beyond or below their share.
Picture domain_picture(const LayerView& layer, const std::vector<std::string>& domain_names) {
  const Index domains = std::ssize(domain_names);
  HeatMap map{.title = fmt::format("block {}: experts and domains", layer.block),
              .x_label = "domain",
              .y_label = "expert",
              .value_label = "share of a domain in an expert's claims over its share of all",
              .first = -0.5,
              .last = static_cast<double>(domains) - 0.5,
              .strips = {{"", layer.experts, domains, train::lifts(layer.census.domains, layer.experts)}}};
  return {fmt::format("domains-{}", layer.block), svg_text(map),
          fmt::format("Expert 0 at the top. Domains from the left: {}.", fmt::join(domain_names, ", "))};
}

std::string heading(const LayerView& layer) {
  const auto claims = train::claims_of_experts(layer.census.tokens, layer.experts);
  return fmt::format("block {}: {} experts, {} claims served", layer.block, layer.experts,
                     std::accumulate(claims.begin(), claims.end(), Index{0}));
}

constexpr std::string_view reading =
    "bits: mutual information, without the bias of few counts (Miller-Madow); claims of one text are not independent";

PageTable information_table(const LayerView& layer) {
  PageTable table{{"an expert tells about", "bits", "of at most", "share", "uncorrected"}, {}};
  for (const InformationRow& row : informations(layer)) {
    table.rows.push_back({std::string(row.about), fmt::format("{:.4f}", row.bits.corrected),
                          fmt::format("{:.4f}", row.bits.most), fmt::format("{:.1f} %", 100.0 * row.bits.share()),
                          fmt::format("{:.4f}", row.bits.plug_in)});
  }
  return table;
}

PageTable expert_table(const LayerView& layer, const std::vector<std::string>& domain_names) {
  PageTable table{{"expert", "share"}, {}};
  for (const std::string_view name : class_names(layer)) table.heads.emplace_back(name);
  table.heads.emplace_back("bytes beyond their share");
  if (!layer.census.domains.empty()) table.heads.emplace_back("domains beyond their share");
  for (const ExpertRow& expert : expert_rows(layer, domain_names)) {
    std::vector<std::string> row{fmt::format("{}", table.rows.size()), fmt::format("{:.1f} %", 100.0 * expert.share)};
    for (const double share : expert.class_shares) row.push_back(fmt::format("{:.1f} %", 100.0 * share));
    row.push_back(expert.bytes);
    if (!expert.domains.empty()) row.push_back(expert.domains);
    table.rows.push_back(std::move(row));
  }
  return table;
}

// Bytes with their first experts below, which wrap as words do. Numbers tell experts apart where colours repeat.
std::string path_markup(const SentencePath& path, const std::vector<PathStep>& steps) {
  std::string out = "<div class=\"path\">";
  for (std::size_t i = 0; i < steps.size(); ++i) {
    const std::string name = byte_name(static_cast<unsigned char>(path.text[i]));
    const std::string shown = name == "space" ? "\xE2\x90\xA3" : name;  // an open box
    const bool served = steps[i].expert >= 0;
    out += fmt::format("<span style=\"border-color:{}\" title=\"{}\">{}<small>{}</small></span>",
                       served ? colour_of(at(steps[i].expert)) : "#ddd",
                       served ? fmt::format("expert {}, gate {:.3f}", steps[i].expert, steps[i].gate) : "no expert",
                       markup_text(shown), served ? fmt::format("{}", steps[i].expert) : "-");
  }
  return out + "</div>\n";
}

}  // namespace

std::string byte_name(Index token) {
  if (token > 255) return fmt::format("<{}>", token);
  if (token == ' ') return "space";
  if (token == '\n') return "\\n";
  if (token == '\t') return "\\t";
  return token > ' ' && token < 127 ? std::string(1, static_cast<char>(token)) : fmt::format("\\x{:02x}", token);
}

std::string text_of(const std::vector<LayerView>& layers, const std::vector<std::string>& domain_names) {
  std::string text = fmt::format("  {}\n", reading);
  for (const LayerView& layer : layers) {
    text += fmt::format("{}\n", heading(layer));
    for (const InformationRow& row : informations(layer)) {
      text += fmt::format("  expert and {:<11}{:>8.4f} bits of at most {:.4f}  {}  (uncorrected {:.4f})\n", row.about,
                          row.bits.corrected, row.bits.most, bar_of(row.bits), row.bits.plug_in);
    }
    text += fmt::format("  {:>6}{:>8}", "expert", "share");
    for (const std::string_view name : class_names(layer)) text += fmt::format("{:>12}", name);
    text += fmt::format("  bytes beyond their share: lift (claims){}\n",
                        layer.census.domains.empty() ? "" : "; domains beyond theirs");
    Index number = 0;
    for (const ExpertRow& expert : expert_rows(layer, domain_names)) {
      text += fmt::format("  {:>6}{:>6.1f} %", number++, 100.0 * expert.share);
      for (const double share : expert.class_shares) text += fmt::format("{:>10.1f} %", 100.0 * share);
      text += fmt::format("  {}{}{}\n", expert.bytes, expert.domains.empty() ? "" : "; ", expert.domains);
    }
  }
  return text;
}

std::string text_of(const SentencePath& path, const std::vector<LayerView>& layers, bool colours) {
  constexpr Index terminal_colours = 6;  // 31 to 36, which are neither black nor white
  std::string text = fmt::format("{:<6}", "byte");
  for (const LayerView& layer : layers) text += fmt::format("  {:>16}", fmt::format("block {}", layer.block));
  text += "\n";
  for (std::size_t i = 0; i < path.text.size(); ++i) {
    text += fmt::format("{:<6}", byte_name(static_cast<unsigned char>(path.text[i])));
    for (const std::vector<PathStep>& layer : path.layers) {
      const PathStep& step = layer[i];
      const std::string cell = step.expert < 0 ? "no expert" : fmt::format("expert {} {:.3f}", step.expert, step.gate);
      const std::string padded = fmt::format("  {:>16}", cell);
      const bool coloured = colours && step.expert >= 0;
      text += coloured ? fmt::format("\033[{}m{}\033[0m", 31 + step.expert % terminal_colours, padded) : padded;
    }
    text += "\n";
  }
  return text;
}

std::vector<PageSection> routing_sections(const std::vector<LayerView>& layers,
                                          const std::vector<std::string>& domain_names, const SentencePath& path) {
  std::vector<PageSection> sections;
  if (!path.text.empty()) {
    PageSection way{.heading = "The way of a text: below each byte its first expert"};
    for (std::size_t l = 0; l < path.layers.size(); ++l) {
      way.markup += fmt::format("<h3>block {}</h3>\n{}", layers[l].block, path_markup(path, path.layers[l]));
    }
    sections.push_back(std::move(way));
  }
  for (const LayerView& layer : layers) {
    PageSection section{.heading = heading(layer),
                        .paragraphs = {std::string(reading)},
                        .tables = {information_table(layer), expert_table(layer, domain_names)}};
    if (!layer.census.domains.empty()) section.pictures.push_back(domain_picture(layer, domain_names));
    sections.push_back(std::move(section));
  }
  return sections;
}

}  // namespace conclave::apps
