// SPDX-License-Identifier: BSD-3-Clause
#include "apps/memory.hpp"

#include <fmt/ranges.h>
#include <sys/resource.h>

#include <algorithm>
#include <fstream>
#include <limits>
#include <optional>

namespace conclave::apps {
namespace {

constexpr double kib = 1024.0;

// The number after `key` in a file of "key number" lines.
std::optional<double> number_in(const char* path, const std::string& key) {
  std::ifstream file(path);
  std::string word;
  double value = 0.0;
  while (file >> word) {
    if (word == key && file >> value) return value;
    file.clear();
  }
  return std::nullopt;
}

std::optional<double> first_number(const char* path) {
  std::ifstream file(path);
  double value = 0.0;
  if (file >> value) return value;  // "max" is no number: no limit
  return std::nullopt;
}

// What the control group leaves, of either version.
double left_by_control_group() {
  constexpr const char* files[][2] = {
      {"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"},
      {"/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"}};
  for (const auto& [limit, usage] : files) {
    const auto most = first_number(limit);
    const auto used = first_number(usage);
    if (most && used) return std::max(0.0, *most - *used);
  }
  return std::numeric_limits<double>::infinity();
}

}  // namespace

double available_memory() {
  const double of_system =
      kib * number_in("/proc/meminfo", "MemAvailable:").value_or(std::numeric_limits<double>::infinity());
  return std::min(of_system, left_by_control_group());
}

double proportional_memory() { return kib * number_in("/proc/self/smaps_rollup", "Pss:").value_or(0.0); }
double resident_memory() { return kib * number_in("/proc/self/status", "VmRSS:").value_or(0.0); }
double peak_resident_memory() { return kib * number_in("/proc/self/status", "VmHWM:").value_or(0.0); }

double left_by_address_space() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) {
    return std::numeric_limits<double>::infinity();
  }
  return std::max(0.0,
                  static_cast<double>(limit.rlim_cur) - kib * number_in("/proc/self/status", "VmSize:").value_or(0.0));
}

std::string bytes_text(double bytes) {
  constexpr const char* units[] = {"KiB", "MiB", "GiB", "TiB"};
  double value = bytes / kib;
  std::size_t unit = 0;
  for (; value >= 1000.0 && unit + 1 < std::size(units); ++unit) value /= kib;
  return fmt::format("{:.3g} {}", value, units[unit]);
}

namespace {

// What one rank needs and may have [bytes].
struct RankMemory {
  double needed = 0.0;
  double on_node = 0.0;
  double of_process = 0.0;
};

std::vector<RankMemory> memory_of_all(const comm::Communicator& world, double needed) {
  const std::vector<double> mine{needed, available_memory(), left_by_address_space()};
  const std::vector<double> all = world.gather_all<double>(mine);
  std::vector<RankMemory> ranks;
  for (std::size_t i = 0; i < all.size(); i += mine.size()) ranks.push_back({all[i], all[i + 1], all[i + 2]});
  return ranks;
}

}  // namespace

std::string refuse_too_much_memory(const comm::Communicator& world, const std::vector<plan::MemoryItem>& need) {
  const std::vector<RankMemory> all = memory_of_all(world, plan::total_bytes(need));
  const plan::Topology topology = world.topology();
  const char* const remedy =
      "give it more nodes or fewer ranks a node, split its steps into more passes, or make the model smaller";
  for (NodeId node; node < NodeId{topology.num_nodes()}; ++node) {
    double needed = 0.0;
    double available = std::numeric_limits<double>::infinity();
    for (const RankId rank : topology.ranks(node)) {
      const RankMemory& memory = all[static_cast<std::size_t>(rank.value())];
      needed += memory.needed;
      available = std::min(available, memory.on_node);
      if (memory.needed <= memory.of_process) continue;
      throw InputError(fmt::format("this run needs {} on rank {}, whose process may have {} more (ulimit -v)",
                                   bytes_text(memory.needed), rank.value(), bytes_text(memory.of_process)),
                       remedy);
    }
    if (needed <= available) continue;
    throw InputError(
        fmt::format("this run needs {} on the node of rank {} ({} ranks), of which {} are free", bytes_text(needed),
                    topology.leader(node).value(), topology.ranks(node).size(), bytes_text(available)),
        remedy);
  }
  std::size_t fullest = 0;
  for (std::size_t r = 0; r < all.size(); ++r) {
    if (all[r].needed > all[fullest].needed) fullest = r;
  }
  std::vector<std::string> parts;
  for (const plan::MemoryItem& item : need) parts.push_back(fmt::format("{} {}", item.what, bytes_text(item.bytes)));
  const NodeId node = topology.node(world.rank());
  return fmt::format(
      "memory by formula: {} on the fullest rank, beside the program itself; here {}. {} are free on this node of {} "
      "ranks",
      bytes_text(all[fullest].needed), fmt::join(parts, ", "),
      bytes_text(all[static_cast<std::size_t>(world.rank().value())].on_node), topology.ranks(node).size());
}

}  // namespace conclave::apps
