// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/core/duration.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <vector>

namespace conclave {
namespace {

struct Unit {
  char letter;
  double seconds;
};
constexpr std::array<Unit, 4> units{{{'d', 86400.0}, {'h', 3600.0}, {'m', 60.0}, {'s', 1.0}}};

// Digits, with a fraction or without; takes them off the text's front. Nothing if it does not begin with a digit.
std::optional<double> take_number(std::string_view& text) {
  if (text.empty() || text.front() < '0' || text.front() > '9') return {};
  double value = 0.0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, std::chars_format::fixed);
  if (error != std::errc{} || !std::isfinite(value)) return {};
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return value;
}

// "1h30m"
std::optional<double> with_units(std::string_view text) {
  double seconds = 0.0;
  auto unit = units.begin();
  while (!text.empty()) {
    const std::optional<double> value = take_number(text);
    if (!value || text.empty()) return {};
    unit = std::find_if(unit, units.end(), [&](const Unit& u) { return u.letter == text.front(); });
    if (unit == units.end()) return {};
    seconds += *value * unit->seconds;
    ++unit;  // none twice
    text.remove_prefix(1);
  }
  return seconds;
}

// "1-12:00:00": behind days stand hours first, without days the last field is seconds.
std::optional<double> with_colons(std::string_view text) {
  const std::size_t dash = text.find('-');
  const bool has_days = dash != std::string_view::npos;
  std::optional<double> days = 0.0;
  if (has_days) {
    std::string_view front = text.substr(0, dash);
    days = take_number(front);
    if (!days || !front.empty()) return {};
    text.remove_prefix(dash + 1);
  }
  std::vector<double> fields;
  while (true) {
    const std::optional<double> value = take_number(text);
    if (!value) return {};
    fields.push_back(*value);
    if (text.empty()) break;
    if (text.front() != ':') return {};
    text.remove_prefix(1);
  }
  if (fields.size() > 3 || (!has_days && fields.size() < 2)) return {};
  double unit_s = has_days ? 3600.0 : std::pow(60.0, static_cast<double>(fields.size() - 1));
  double seconds = *days * units.front().seconds;
  for (const double field : fields) {
    seconds += field * unit_s;
    unit_s /= 60.0;
  }
  return seconds;
}

}  // namespace

std::optional<Duration> parse_duration(std::string_view text) {
  if (text.empty()) return {};
  std::string_view rest = text;
  std::optional<double> seconds = take_number(rest);
  if (!rest.empty())
    seconds = text.find_first_of(":-") == std::string_view::npos ? with_units(text) : with_colons(text);
  if (!seconds || !std::isfinite(*seconds)) return {};
  return Duration{*seconds};
}

std::string text_of(Duration duration) {
  if (duration.seconds == 0.0) return "0s";
  // Above that, days and hours would be rounded.
  constexpr double largest_exact = 0x1p53;
  if (duration.seconds != std::floor(duration.seconds) || duration.seconds > largest_exact) {
    std::array<char, 1100> digits{};  // the smallest number has 1074 digits behind the point
    const auto end = std::to_chars(digits.begin(), digits.end(), duration.seconds, std::chars_format::fixed).ptr;
    return std::string(digits.begin(), end) + "s";
  }
  std::string text;
  double left = duration.seconds;
  for (const Unit& unit : units) {
    const double whole = std::floor(left / unit.seconds);
    if (whole > 0.0) text += fmt::format("{:.0f}{}", whole, unit.letter);
    left -= whole * unit.seconds;
  }
  return text;
}

}  // namespace conclave
