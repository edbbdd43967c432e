// SPDX-License-Identifier: BSD-3-Clause
#include "apps/run_follower.hpp"

#include "apps/progress.hpp"
#include "apps/text_curve.hpp"
#include "runtime/core/error.hpp"
#include "runtime/core/parse_number.hpp"
#include "runtime/train/checkpoint_folder.hpp"
#include "runtime/train/folder_lock.hpp"

#include <sys/stat.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <numeric>

namespace conclave::apps {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t steps_in_means = 20;
constexpr std::size_t most_in_curve = 4096;
constexpr Index tail_bytes = 256;  // that a log must still have where it was read up to

// "steps = 2000" in the configuration that the run has written.
std::optional<Index> planned_steps(const fs::path& folder) {
  std::ifstream file(folder / "config.ini");
  for (std::string line; std::getline(file, line);) {
    constexpr std::string_view name = "steps = ";
    if (line.starts_with(name)) return parse_number<Index>(std::string_view(line).substr(name.size()));
  }
  return std::nullopt;
}

std::string bytes_at(const train::DiskFile& file, Index begin, Index end) {
  std::string bytes(static_cast<std::size_t>(end - begin), '\0');
  file.read_at(begin, std::as_writable_bytes(std::span(bytes)));
  return bytes;
}

std::optional<double> number_of(const Json& record, const char* name) {
  const auto found = record.find(name);
  if (found == record.end() || !found->is_number()) return std::nullopt;
  const auto value = found->get<double>();
  return std::isfinite(value) ? std::optional(value) : std::nullopt;
}

std::string loss_text(const std::optional<double>& loss) { return loss ? fmt::format("{:.4f}", *loss) : "not finite"; }

std::string step_text(const WatchedRun& run) {
  return run.steps ? fmt::format("{}/{}", run.step, *run.steps) : fmt::format("{}", run.step);
}

std::string time_left_text(const WatchedRun& run) {
  if (!run.steps || run.step >= *run.steps || !(run.step_s > 0.0)) return "";
  return fmt::format("about {} left", time_text(run.step_s * static_cast<double>(*run.steps - run.step)));
}

}  // namespace

RunFollower::RunFollower(fs::path folder, Index window_bytes)
    : folder_(std::move(folder)), window_bytes_(window_bytes) {
  run_.folder = folder_.string();
}

void RunFollower::read_anew(Index size) {
  std::string folder = std::move(run_.folder);
  run_ = {};
  run_.folder = std::move(folder);
  last_.clear();
  offset_ = std::max<Index>(0, size - window_bytes_);
  before_offset_.clear();
}

const WatchedRun& RunFollower::look() {
  const fs::path path = folder_ / "metrics.jsonl";
  struct stat status {};
  if (::stat(path.c_str(), &status) == 0) {
    const train::DiskFile file(path, train::DiskFile::Access::read);
    try {
      read_on(file, status.st_size);
      run_.written_at = std::chrono::system_clock::from_time_t(status.st_mtime);
    } catch (const InputError&) {  // it was cut while it was read: the next look begins anew
      read_anew(0);
    }
  } else {
    read_anew(0);
  }
  look_around();
  return run_;
}

void RunFollower::read_on(const train::DiskFile& file, Index size) {
  const Index tail = std::ssize(before_offset_);
  const bool is_other = size < offset_ || bytes_at(file, offset_ - tail, offset_) != before_offset_;
  if (is_other || offset_ == 0) read_anew(size);
  // Where reading begins within a line, its rest is left out; the search finds the end of one that is whole at once.
  const bool begins_within = before_offset_.empty() && offset_ > 0;
  const std::string text = bytes_at(file, offset_, size);
  std::size_t begin = begins_within ? text.find('\n') + 1 : 0;  // 0 where no line ends
  const std::size_t end = text.rfind('\n') + 1;
  while (begin < end) {
    const std::size_t line_end = text.find('\n', begin);
    take(std::string_view(text).substr(begin, line_end - begin));
    begin = line_end + 1;
  }
  offset_ += static_cast<Index>(end);
  before_offset_ = bytes_at(file, std::max<Index>(0, offset_ - tail_bytes), offset_);
}

void RunFollower::look_around() {
  run_.steps = planned_steps(folder_);
  const std::vector<train::StoredStep> stored = train::stored_steps(folder_);
  run_.saved = stored.empty() ? std::nullopt : std::optional(stored.front().step);
  run_.process_runs = train::owner_runs(folder_);
}

void RunFollower::take(std::string_view line) {
  const Json record = Json::parse(line, nullptr, false);
  if (!record.is_object()) return;  // what a process that was killed has left
  const auto step = number_of(record, "step");
  const auto kind = record.find("kind");
  if (!step || kind == record.end()) return;
  const auto number = static_cast<Index>(*step);
  if (*kind == "evaluation") {
    run_.held_out_loss = number_of(record, "loss");
    run_.held_out_step = number;
  }
  if (*kind == "step") take_step(number, record);
}

void RunFollower::take_step(Index number, const Json& record) {
  run_.step = number;
  // A run that went back does steps again.
  while (!last_.empty() && last_.back().step >= number) last_.pop_back();
  while (!run_.curve_steps.empty() && run_.curve_steps.back() >= number) {
    run_.curve_steps.pop_back();
    run_.curve.pop_back();
  }
  const auto skipped = record.find("skipped");
  if (skipped != record.end() && skipped->is_string() && !skipped->get<std::string>().empty()) {
    ++run_.skipped;
    return;
  }
  run_.loss = number_of(record, "loss");
  if (run_.loss) {
    run_.curve_steps.push_back(number);
    run_.curve.push_back(*run_.loss);
  }
  if (run_.curve.size() > most_in_curve) {
    run_.curve_steps.erase(run_.curve_steps.begin());
    run_.curve.erase(run_.curve.begin());
  }
  Step step{.step = number,
            .tokens = number_of(record, "tokens").value_or(0.0),
            .seconds = number_of(record, "seconds").value_or(0.0)};
  const auto layers = record.find("layers");
  for (const Json& layer : layers != record.end() && layers->is_array() ? *layers : Json::array()) {
    if (!layer.is_object()) continue;
    const auto load = layer.find("load");
    for (const Json& claims : load != layer.end() && load->is_array() ? *load : Json::array()) {
      step.claims += claims.is_number() ? claims.get<double>() : 0.0;
    }
    step.dropped += number_of(layer, "over_capacity").value_or(0.0) + number_of(layer, "refused_second").value_or(0.0);
  }
  last_.push_back(step);
  if (last_.size() > steps_in_means) last_.erase(last_.begin());
  const auto sum = [&](double Step::*part) {
    return std::accumulate(last_.begin(), last_.end(), 0.0, [&](double s, const Step& x) { return s + x.*part; });
  };
  run_.step_s = sum(&Step::seconds) / static_cast<double>(last_.size());
  run_.tokens_per_s = sum(&Step::seconds) > 0.0 ? sum(&Step::tokens) / sum(&Step::seconds) : 0.0;
  run_.drop_rate = sum(&Step::claims) > 0.0 ? sum(&Step::dropped) / sum(&Step::claims) : 0.0;
}

std::string status_line(const WatchedRun& run) {
  if (run.step == 0) return "no step is logged yet";
  std::string line = fmt::format("step {}  loss {}", step_text(run), loss_text(run.loss));
  if (run.held_out_step > 0)
    line += fmt::format("  held out {} (step {})", loss_text(run.held_out_loss), run.held_out_step);
  line += fmt::format("  {:.0f} tokens/s  dropped {:.1f} %", run.tokens_per_s, 100.0 * run.drop_rate);
  if (run.skipped > 0) line += fmt::format("  skipped {}", run.skipped);
  if (run.saved) line += fmt::format("  saved step {}", *run.saved);
  const std::string left = time_left_text(run);
  return left.empty() ? line : fmt::format("{}  {}", line, left);
}

std::vector<std::string> status_lines(const WatchedRun& run, Index width) {
  if (run.step == 0) return {run.folder, "  no step is logged yet"};
  std::vector<std::string> lines{run.folder};
  const auto add = [&](std::string_view name, const std::string& text) {
    if (!text.empty()) lines.push_back(fmt::format("  {:<12}{}", name, text));
  };
  const std::string share =
      run.steps && *run.steps > 0
          ? fmt::format(", {:.1f} %", 100.0 * static_cast<double>(run.step) / static_cast<double>(*run.steps))
          : "";
  add("step", step_text(run) + share);
  add("time", time_left_text(run));
  add("loss", loss_text(run.loss));
  if (run.held_out_step > 0)
    add("held out", fmt::format("{} after step {}", loss_text(run.held_out_loss), run.held_out_step));
  add("speed", fmt::format("{:.0f} tokens/s", run.tokens_per_s));
  add("dropped", fmt::format("{:.1f} % of claims", 100.0 * run.drop_rate));
  if (run.skipped > 0) add("skipped", fmt::format("{} steps", run.skipped));
  add("checkpoint", run.saved ? fmt::format("step {}", *run.saved) : "none yet");
  if (!run.curve.empty()) {
    add("loss curve", fmt::format("steps {} to {}: {:.3f} to {:.3f}", run.curve_steps.front(), run.curve_steps.back(),
                                  run.curve.front(), run.curve.back()));
    lines.push_back("  " + text_curve(run.curve, std::clamp<Index>(width - 4, 10, 72)));
  }
  return lines;
}

}  // namespace conclave::apps
