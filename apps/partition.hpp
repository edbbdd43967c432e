// SPDX-License-Identifier: BSD-3-Clause
// What SLURM says of the partition that a job would wait in.
#pragma once

#include "runtime/core/ids.hpp"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace conclave::apps {

struct Partition {
  std::string name;
  Index nodes = 0;
  double node_mib = 0.0;          // memory of its largest node [MiB]
  std::optional<double> limit_s;  // longest time of a job [s]; nothing: there is none
};

/// Asks sinfo for the partition of that name, or, without one, the default one. Nothing where there is no sinfo, where
/// it does not answer, and where it knows no such partition. To be called by one rank alone.
[[nodiscard]] std::optional<Partition> find_partition(const std::string& name);

/// What sinfo's answer, a line "NAME NODES MiB TIME" for each kind of node, says of a partition.
[[nodiscard]] std::optional<Partition> read_partition(std::string_view answer, const std::string& name);

/// What a job asks of it, in sbatch's words; what is empty is not asked.
struct JobNeed {
  Index nodes = 1;
  std::string mem;   // of a node: "64G", "2000M"; "0": all
  std::string time;  // "1-02:00:00"
};

/// A sentence for each thing that is more than the partition has.
[[nodiscard]] std::vector<std::string> beyond(const Partition& partition, const JobNeed& need);

}  // namespace conclave::apps
