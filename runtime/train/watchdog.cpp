// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/train/watchdog.hpp"

#include "runtime/core/clock.hpp"
#include "runtime/core/host.hpp"
#include "runtime/train/agreed.hpp"
#include "runtime/train/disk_file.hpp"

#include <fmt/ranges.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <new>

namespace conclave::train {
namespace {

constexpr double look_every_s = 0.1;
constexpr double for_other_nodes_s = 3.0;
constexpr double for_a_job_that_ends_s = 0.4;  // a launcher that ends all ranks needs no comment

// The letter that the system has for a process: R runs, S sleeps, D waits for a disk, T is stopped, Z is dead.
// Nothing if there is none of that number.
std::optional<char> process_state(Index process) {
  std::ifstream file(fmt::format("/proc/{}/stat", process));
  std::string text;
  if (!std::getline(file, text)) return std::nullopt;
  const auto after_name = text.rfind(')');  // a name may hold anything
  if (after_name == std::string::npos || after_name + 2 >= text.size()) return std::nullopt;
  return text[after_name + 2];
}

bool is_gone(std::optional<char> state) { return !state || *state == 'Z' || *state == 'X'; }

std::string what_is_wrong(Index process) {
  const std::optional<char> state = process_state(process);
  if (is_gone(state)) return fmt::format("process {} has died", process);
  if (*state == 'T' || *state == 't') return fmt::format("process {} is stopped", process);
  if (*state == 'D') return fmt::format("process {} waits for a disk or the system", process);
  return {};
}

}  // namespace

Watchdog::Watchdog(const comm::Communicator& world, Settings settings)
    : settings_(std::move(settings)),
      node_(world.duplicate()),
      num_ranks_(world.size()),
      uncaught_at_start_(std::uncaught_exceptions()) {
  const plan::Topology topology = world.topology();
  mates_ = topology.ranks(topology.node(world.rank()));
  node_ = world.split(topology.node(world.rank()).value());
  own_ = node_.rank().value();
  window_ = comm::SharedWindow(node_, sizeof(Page));
  new (window_.segment(own_)) Page;
  page(own_).process.store(getpid());
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  start_ = world.broadcast(fmt::format("start {}-{}", std::chrono::nanoseconds(now).count(), getpid()));
  node_.barrier();
  // Not where each rank has process numbers of its own, as in a container each.
  bool sees_all = true;
  for (Index mate = 0; mate < node_.size(); ++mate) sees_all = sees_all && !is_gone(process_state(page(mate).process));
  sees_processes_ = node_.all(sees_all);
  thread_ = std::thread([this] { watch(); });
}

// Ranks meet while they are still watched, and part under a limit of time.
Watchdog::~Watchdog() {
  if (std::uncaught_exceptions() <= uncaught_at_start_) {
    node_.barrier();
    const Settings now = settings();
    const RankId own = mates_[static_cast<std::size_t>(own_)];
    parting_.emplace(
        StageWatch::Settings{now.hang_timeout_s, fmt::format("{}: rank {} of {}", now.who, own.value(), num_ranks_),
                             now.exit_code},
        "MPI_Win_free, its work done,");
  }
  {
    const std::lock_guard lock(mutex_);
    ends_ = true;
  }
  wake_.notify_all();
  thread_.join();
  page(own_).has_left.store(true);
}

void Watchdog::settle(double hang_timeout_s, const std::filesystem::path& folder) {
  const std::lock_guard lock(mutex_);
  settings_.hang_timeout_s = hang_timeout_s;
  settings_.folder = folder;
}

Watchdog::Settings Watchdog::settings() {
  const std::lock_guard lock(mutex_);
  return settings_;
}

void Watchdog::saved(const std::filesystem::path& checkpoint) {
  const std::lock_guard lock(mutex_);
  remains_ = checkpoint.string();
}

// Whether the object still lives.
bool Watchdog::sleep_for(double seconds) {
  std::unique_lock lock(mutex_);
  return !wake_.wait_for(lock, std::chrono::duration<double>(seconds), [&] { return ends_; });
}

void Watchdog::watch() {
  Index passed = -1;
  double unmoved_s = 0.0;
  Clock::time_point last = Clock::now();
  while (sleep_for(look_every_s)) {
    const Clock::time_point now = Clock::now();
    const double since_s = std::chrono::duration<double>(now - last).count();
    last = now;
    const Place place = whereabouts().read();
    unmoved_s = place.passed == passed ? unmoved_s + std::min(since_s, 5.0 * look_every_s) : 0.0;
    passed = place.passed;
    if (const std::string gone = gone_mate(); !gone.empty()) {
      if (sleep_for(for_a_job_that_ends_s)) end_job({gone});
    } else if (const double timeout_s = settings().hang_timeout_s; timeout_s > 0.0 && unmoved_s > timeout_s) {
      const std::vector<WatchedRank> node = look_at_node();
      const RankId own = mates_[static_cast<std::size_t>(own_)];
      // The node of the rank that is waited for can name it: others let it speak first.
      if (num_ranks_ == node_.size() || names_somebody(own, node)) {
        end_job(hang_report(own, unmoved_s, node, {}, num_ranks_));
      } else if (unmoved_s > timeout_s + for_other_nodes_s) {
        end_job(hang_report(own, unmoved_s, node, told_by_other_nodes(), num_ranks_));
      } else {
        tell_other_nodes();
      }
    }
  }
}

std::vector<WatchedRank> Watchdog::look_at_node() const {
  std::vector<WatchedRank> node;
  for (Index mate = 0; mate < node_.size(); ++mate) {
    const Page& p = page(mate);
    node.push_back({mates_[static_cast<std::size_t>(mate)], p.whereabouts.read(),
                    sees_processes_ ? what_is_wrong(p.process.load()) : std::string()});
  }
  return node;
}

// What to say of a rank whose process died; nothing if all live.
std::string Watchdog::gone_mate() const {
  if (!sees_processes_) return {};
  for (Index mate = 0; mate < node_.size(); ++mate) {
    const Page& p = page(mate);
    if (p.has_left.load() || !is_gone(process_state(p.process.load())) || p.has_left.load()) continue;
    return fmt::format("rank {} died in {}: its process {} has gone", mates_[static_cast<std::size_t>(mate)].value(),
                       p.whereabouts.read().text(), p.process.load());
  }
  return {};
}

// Does not return, unless the object is being destroyed meanwhile.
void Watchdog::end_job(const std::vector<std::string>& report) {
  constexpr double for_the_launcher_s = 0.2;  // to forward what was said
  constexpr double for_the_others_s = 10.0;   // to end with the launcher
  if (page(0).is_reported.exchange(true)) {
    if (sleep_for(for_the_others_s)) std::_Exit(settings().exit_code);
    return;
  }
  std::string remains;
  {
    const std::lock_guard lock(mutex_);
    remains = remains_.empty() ? "nothing was saved in this run" : fmt::format("saved last: {}", remains_);
  }
  std::string text = fmt::format("{}: {}\n", settings().who, report.front());
  for (std::size_t i = 1; i < report.size(); ++i) text += fmt::format("  {}\n", report[i]);
  text += fmt::format("  {}\n", remains);
  fmt::print(stderr, "{}", text);
  std::fflush(stderr);
  write_state(report.front());
  if (sleep_for(for_the_launcher_s)) std::_Exit(settings().exit_code);
}

std::filesystem::path Watchdog::state_file() {
  return settings().folder / fmt::format("hang-{}-{}.txt", host_name(), mates_.front().value());
}

void Watchdog::tell_other_nodes() {
  if (!page(0).is_told.exchange(true)) write_state("waits for other nodes");
}

std::vector<ToldRank> Watchdog::told_by_other_nodes() {
  std::vector<ToldRank> told;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(settings().folder, error)) {
    if (!entry.path().filename().string().starts_with("hang-") || entry.path() == state_file()) continue;
    std::ifstream file(entry.path());
    std::string start;
    if (!std::getline(file, start) || start != start_) continue;
    const std::string text{std::istreambuf_iterator<char>(file), {}};
    const std::vector<ToldRank> ranks = told_in(text);
    told.insert(told.end(), ranks.begin(), ranks.end());
  }
  return told;
}

// Every rank of the node, for a look at all nodes together.
void Watchdog::write_state(const std::string& first_line) {
  const std::string text = fmt::format("{}\n{}\n{}", start_, first_line, state_text(look_at_node()));
  const Failure failure = failure_of([&] { replace_file(state_file(), text); });
  if (!failure.message.empty()) fmt::print(stderr, "  {}\n", failure.message);
}

}  // namespace conclave::train
