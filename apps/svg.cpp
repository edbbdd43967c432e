// SPDX-License-Identifier: BSD-3-Clause
#include "apps/svg.hpp"

#include "runtime/core/error.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace conclave::apps {
namespace {

constexpr std::array<std::string_view, 14> colours{"#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e",
                                                   "#8c564b", "#e377c2", "#17becf", "#bcbd22", "#7f7f7f",
                                                   "#aec7e8", "#ffbb78", "#98df8a", "#c5b0d5"};

constexpr std::string_view no_character = "\xEF\xBF\xBD";  // U+FFFD

// The bytes of the character that `text` begins with; 0 if it is none of XML. Overlong forms, surrogates and what lies
// beyond U+10FFFF are none.
std::size_t character_bytes(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<std::uint8_t>(text[i]); };
  const std::uint8_t first = byte(0);
  if (first < 0x80) return first >= 0x20 || first == '\t' || first == '\n' || first == '\r' ? 1 : 0;
  const std::size_t bytes = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
  if (first < 0xC2 || first > 0xF4 || text.size() < bytes) return 0;
  std::uint32_t code = first & (0xFFU >> (bytes + 1));
  for (std::size_t i = 1; i < bytes; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return 0;
    code = code << 6 | (byte(i) & 0x3FU);
  }
  constexpr std::array<std::uint32_t, 5> least{0, 0, 0x80, 0x800, 0x10000};
  const bool is_surrogate = code >= 0xD800 && code <= 0xDFFF;
  return code < least[bytes] || is_surrogate || code > 0x10FFFF || (code & 0xFFFE) == 0xFFFE ? 0 : bytes;
}

std::string_view escape_of(char c) {
  switch (c) {
    case '&':
      return "&amp;";
    case '<':
      return "&lt;";
    case '>':
      return "&gt;";
    case '"':
      return "&quot;";
    case '\'':
      return "&#39;";
    default:
      return {};
  }
}

// 1, 2 or 5 times a power of ten, so that there are about `count` of them in `span`.
double tick_step(double span, double count) {
  const double power = std::pow(10.0, std::floor(std::log10(span / count)));
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (span / (factor * power) <= count) return factor * power;
  }
  return 10.0 * power;
}

}  // namespace

std::string markup_text(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const std::size_t bytes = character_bytes(text);
    const std::string_view escape = escape_of(text.front());
    out += bytes == 0 ? no_character : !escape.empty() ? escape : text.substr(0, bytes);
    text.remove_prefix(std::max<std::size_t>(1, bytes));
  }
  return out;
}

std::string tick_text(double value) {
  const double size = std::abs(value);
  for (const auto& [unit, letter] : {std::pair(1e12, 'T'), {1e9, 'G'}, {1e6, 'M'}, {1e3, 'k'}}) {
    if (size >= unit && size >= 1e4) return fmt::format("{:.6g}{}", value / unit, letter);
  }
  if (size == 0.0) return "0";  // -0 too
  return size < 1.0 ? fmt::format("{:.3g}", value) : fmt::format("{:.6g}", value);
}

std::string_view colour_of(std::size_t i) { return colours[i % colours.size()]; }

std::string text_at(double x, double y, std::string_view anchor, std::string_view text) {
  return fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\">{}</text>\n", x, y, anchor, markup_text(text));
}

double text_width(std::string_view text) {
  constexpr double of_a_letter = 7.0;
  const auto letters =
      std::ranges::count_if(text, [](char c) { return (static_cast<std::uint8_t>(c) & 0xC0) != 0x80; });
  return of_a_letter * static_cast<double>(letters);
}

std::string svg_begin(double width, double height, std::string_view title) {
  return fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {0} {1}\" font-family=\"sans-serif\" font-size=\"13\">\n"
      "<title>{2}</title>\n<rect width=\"{0}\" height=\"{1}\" fill=\"white\"/>\n",
      width, height, markup_text(title));
}

Axis::Axis(Scale scale, Ends ends, double least, double most, double begin, double end)
    : scale_(scale), begin_(begin), end_(end) {
  invariant(std::isfinite(least) && std::isfinite(most) && least <= most, "an axis from {} to {}", least, most);
  if (scale == Scale::powers_of_two) {
    invariant(least > 0.0, "{} on a logarithmic axis", least);
    low_ = std::floor(std::log2(least));
    high_ = std::max(std::ceil(std::log2(most)), low_ + 1.0);
    for (double e = low_; e <= high_; ++e) ticks_.push_back(std::exp2(e));
    return;
  }
  // A single number has room around it; so has one whose neighbours a double cannot tell apart.
  const double room = most - least > 1e-12 * std::abs(most) ? 0.0 : most == 0.0 ? 0.5 : 0.05 * std::abs(most);
  low_ = least - room;
  high_ = most + room;
  constexpr double pixels_a_tick = 52.0;
  const double step = tick_step(high_ - low_, std::max(2.0, std::abs(end - begin) / pixels_a_tick));
  constexpr double rounding = 1e-6;  // of a step
  double first = std::ceil(low_ / step - rounding);
  double last = std::floor(high_ / step + rounding);
  if (ends == Ends::at_ticks) {
    first = std::floor(low_ / step + rounding);
    last = std::ceil(high_ / step - rounding);
    low_ = first * step;
    high_ = last * step;
  }
  for (double i = first; i <= last; ++i) ticks_.push_back(i * step);
}

double Axis::place(double value) const {
  const double at = scale_ == Scale::linear ? value : std::log2(value);
  return begin_ + (at - low_) / (high_ - low_) * (end_ - begin_);
}

std::string grid(const Axis& x, const Axis& y) {
  std::string out;
  for (const double tick : x.ticks()) {
    const double at = x.place(tick);
    out += fmt::format("<path d=\"M{0:.1f},{1:.1f}V{2:.1f}\" stroke=\"#ddd\"/>\n", at, y.begin(), y.end());
    out += text_at(at, y.begin() + 18.0, "middle", tick_text(tick));
  }
  for (const double tick : y.ticks()) {
    const double at = y.place(tick);
    out += fmt::format("<path d=\"M{0:.1f},{1:.1f}H{2:.1f}\" stroke=\"#ddd\"/>\n", x.begin(), at, x.end());
    out += text_at(x.begin() - 8.0, at + 4.0, "end", tick_text(tick));
  }
  return out;
}

}  // namespace conclave::apps
