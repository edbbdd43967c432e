// SPDX-License-Identifier: BSD-3-Clause
// Time spans as people and batch systems write them.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace conclave {

/// A time span as an option: never negative.
struct Duration {
  double seconds = 0.0;  // [s]
  friend bool operator==(const Duration&, const Duration&) = default;
};

/// How durations may be written, for messages.
inline constexpr std::string_view duration_forms = "seconds, or a time such as 90m, 1h30m, 2d or 1-12:00:00";

/// Reads "90" (seconds), units from the largest to the smallest ("2d", "1h30m", "1.5h", "45s"), or SLURM's forms with
/// colons or days ("mm:ss", "hh:mm:ss", "d-hh", "d-hh:mm", "d-hh:mm:ss"). Nothing if the text is none of these.
[[nodiscard]] std::optional<Duration> parse_duration(std::string_view text);

/// The duration in a form that parse_duration reads: "1h30m", "0.5s", "0s".
[[nodiscard]] std::string text_of(Duration duration);

}  // namespace conclave
