// SPDX-License-Identifier: BSD-3-Clause
#include "apps/progress.hpp"

#include <fmt/core.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>

namespace conclave::apps {
namespace {

constexpr const char* erase_line = "\r\033[K";

}  // namespace

Index terminal_width(std::FILE* stream) {
  constexpr Index without_terminal = 100;
  winsize size{};
  if (ioctl(fileno(stream), TIOCGWINSZ, &size) != 0 || size.ws_col < 20) return without_terminal;
  return size.ws_col;
}

bool is_watched() { return isatty(STDERR_FILENO) == 1; }

std::string time_text(double seconds) {
  const auto s = static_cast<Index>(std::llround(std::max(0.0, seconds)));
  if (s < 60) return fmt::format("{} s", s);
  if (s < 3600) return fmt::format("{} min {} s", s / 60, s % 60);
  if (s < 86400) return fmt::format("{} h {} min", s / 3600, s / 60 % 60);
  return fmt::format("{} d {} h", s / 86400, s / 3600 % 24);
}

std::string progress_text(Index first, Index step, Index total, double elapsed_s, std::string_view text, Index width) {
  std::string line = fmt::format("step {}/{}", step, total);
  if (!text.empty()) line += fmt::format("  {}", text);
  const Index done = step - first;
  if (done > 0 && step < total) {
    const double left_s = elapsed_s / static_cast<double>(done) * static_cast<double>(total - step);
    line += fmt::format("  {} left", time_text(left_s));
  }
  return line.substr(0, static_cast<std::size_t>(std::max<Index>(0, width)));
}

Progress::Progress(Index first_step, Index total_steps, bool enabled)
    : first_step_(first_step),
      total_steps_(total_steps),
      enabled_(enabled),
      live_(is_watched()),
      start_(Clock::now()),
      next_(start_) {}

void Progress::update(Index step, std::string_view text) {
  if (!enabled_) return;
  const auto now = Clock::now();
  const double elapsed_s = std::chrono::duration<double>(now - start_).count();
  // A line that fills the last column makes some terminals wrap.
  const Index width = live_ ? terminal_width(stderr) - 1 : 1000;
  last_text_ = progress_text(first_step_, step, total_steps_, elapsed_s, text, width);
  last_is_shown_ = now >= next_ || step == total_steps_;
  if (!last_is_shown_) return;
  if (live_) {
    fmt::print(stderr, "{}{}", erase_line, last_text_);
    line_open_ = true;
    next_ = now + std::chrono::milliseconds(100);
  } else {
    fmt::print(stderr, "{}\n", last_text_);
    next_ = now + std::chrono::seconds(30);
  }
  std::fflush(stderr);
}

void Progress::note(std::string_view text) {
  if (!enabled_) return;
  if (line_open_) fmt::print(stderr, "{}", erase_line);
  line_open_ = false;
  fmt::print(stderr, "{}\n", text);
  std::fflush(stderr);
}

void Progress::finish() {
  if (!enabled_) return;
  if (!last_is_shown_) fmt::print(stderr, "{}{}{}", live_ ? erase_line : "", last_text_, live_ ? "" : "\n");
  if (live_ && (line_open_ || !last_is_shown_)) fmt::print(stderr, "\n");
  line_open_ = false;
  last_is_shown_ = true;
  std::fflush(stderr);
}

}  // namespace conclave::apps
