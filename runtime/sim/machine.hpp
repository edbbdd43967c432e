// SPDX-License-Identifier: BSD-3-Clause
// How fast a machine does what a training step is made of, as measured there: the calibration that simulations use. The
// cluster's description (cluster.hpp) says what is between nodes; this says what a rank's own work costs.
#pragma once

#include "runtime/core/trace.hpp"
#include "runtime/sim/work.hpp"

#include <cmath>
#include <optional>
#include <string>
#include <vector>

namespace conclave::sim {

/// 9 of 10 cases of a normal distribution are within so many sigma of its mean.
inline constexpr double deviations_of_90 = 1.645;

/// A quantity that was fitted, with the interval that holds it in 9 of 10 cases. 0 <= low <= value <= high.
struct Fitted {
  double value = 0.0;
  double low = 0.0;
  double high = 0.0;
  friend bool operator==(const Fitted&, const Fitted&) = default;
};

/// Of one phase's operations: seconds = s_per_call calls + s_per_flop flops + s_per_byte bytes
///   + s_per_far_byte far_share bytes + s_per_element elements.
/// far_share: how much of a step's memory the caches do not keep (see below).
struct Rate {
  Fitted s_per_call{};
  Fitted s_per_flop{};
  Fitted s_per_byte{};
  Fitted s_per_far_byte{};
  Fitted s_per_element{};
  [[nodiscard]] double seconds(const Work& work, double far_share) const {
    return s_per_call.value * work.calls + s_per_flop.value * work.flops +
           (s_per_byte.value + s_per_far_byte.value * far_share) * work.bytes + s_per_element.value * work.elements;
  }
  friend bool operator==(const Rate&, const Rate&) = default;
};

/// The rates of a rank while so many ranks of its node compute, each with so many threads: they share the memory.
struct ComputeRates {
  Index active_ranks = 1;
  Index threads = 1;
  std::array<Rate, num_phases> phases{};  // by Phase; wait has none
  [[nodiscard]] const Rate& of(Phase phase) const { return phases[static_cast<std::size_t>(phase)]; }
  friend bool operator==(const ComputeRates&, const ComputeRates&) = default;
};

/// A message of b bytes, while one goes the other way, takes latency_s + b / Bps.
struct MessageLine {
  Fitted latency_s;
  Fitted Bps;
  friend bool operator==(const MessageLine&, const MessageLine&) = default;
};

/// Messages between two ranks: `rendezvous` from so many bytes on, `eager` below. post_s: what a rank's own time goes
/// on for each message that it sends or receives, beside the line. busy_s_per_byte: by how much longer it computes for
/// each byte that it sends or receives meanwhile, as processors copy what passes through memory or a network stack.
struct MessageCosts {
  MessageLine eager;
  MessageLine rendezvous;
  double rendezvous_from_bytes = 0.0;
  Fitted post_s;
  Fitted busy_s_per_byte{};
  [[nodiscard]] const MessageLine& line(double bytes) const {
    return bytes < rendezvous_from_bytes ? eager : rendezvous;
  }
  friend bool operator==(const MessageCosts&, const MessageCosts&) = default;
};

/// Writing into memory that a node's ranks share: what it takes until all know that all have written, and the bytes per
/// second of one rank while all ranks of the node write.
struct SharedMemoryCosts {
  Fitted synchronise_s;
  Fitted copy_Bps;
  friend bool operator==(const SharedMemoryCosts&, const SharedMemoryCosts&) = default;
};

/// Writing a file from one rank: so long before the first byte, then bytes per second.
struct FileCosts {
  Fitted latency_s;
  Fitted write_Bps;
  friend bool operator==(const FileCosts&, const FileCosts&) = default;
};

/// What an exchange between all ranks of several nodes took over what its price is without this: with many peers at
/// once, links carry less than between two ranks.
struct ExchangeFactor {
  std::string exchange{};      // the strategy, or exchange_of_parameters
  double message_bytes = 0.0;  // from each rank to each other one
  Fitted over_price{};
  friend bool operator==(const ExchangeFactor&, const ExchangeFactor&) = default;
};

/// Stands for the gathering of what every rank has updated a part of.
inline constexpr std::string_view exchange_of_parameters = "gather";

/// How a rank's time for the same work differs from step to step: where the mean is m seconds, by the variance
/// (sigma m)^2, of what slows the whole of it down, plus jitter_s m, of interruptions that come and go.
struct Noise {
  double sigma = 0.0;
  double jitter_s = 0.0;
  /// The deviation of `seconds` of work.
  [[nodiscard]] double deviation_s(double seconds) const {
    return std::sqrt(sigma * sigma * seconds * seconds + jitter_s * seconds);
  }
  friend bool operator==(const Noise&, const Noise&) = default;
};

/// Where the numbers come from.
struct Provenance {
  std::string version;  // of the program
  std::string cpu;
  std::string blas_kernel;
  std::string mpi;
  std::string host;
  std::string when;  // "2026-11-29T15:54:00Z"
  Index ranks = 0;
  Index threads = 0;  // of a rank
  friend bool operator==(const Provenance&, const Provenance&) = default;
};

/// The share of a step's memory that caches of `cache_bytes` do not keep until it is used again, where the step goes
/// through `footprint_bytes`: footprint / (footprint + cache), for their several levels and what else uses them make no
/// edge. 0 for no footprint.
[[nodiscard]] double far_share(double footprint_bytes, double cache_bytes);

struct Machine {
  std::vector<ComputeRates> compute;      // ascending by active_ranks; at least one
  std::optional<MessageCosts> node;       // between ranks of a node
  std::optional<MessageCosts> network;    // between nodes; nothing where one node was measured
  std::vector<ExchangeFactor> exchanges;  // between nodes; of each strategy by rising message_bytes
  std::optional<SharedMemoryCosts> shared_memory;
  std::optional<FileCosts> file;
  double cache_bytes = 0.0;  // what caches keep of a rank's memory; see far_share
  Noise noise{};
  double drift_sigma = 0.0;                         // of a step minutes later, over what it was
  std::array<double, num_phases> residual_sigma{};  // of a phase's predicted time, over the measured one
  Provenance provenance;
  friend bool operator==(const Machine&, const Machine&) = default;

  /// The rates while `active_ranks` of a node compute: between two measured numbers interpolated, below the first and
  /// beyond the last those of the first and the last.
  [[nodiscard]] ComputeRates rates(Index active_ranks) const;
  /// The factor of an exchange between nodes: between two measured sizes interpolated by their logarithms, beyond them
  /// that of the nearest, and 1 where none was measured.
  [[nodiscard]] double over_price(std::string_view exchange, double message_bytes) const;
  /// Whether rates(active_ranks) are beyond what was measured.
  [[nodiscard]] bool is_beyond(Index active_ranks) const;
};

/// The version of the file's format that this program writes and reads.
inline constexpr Index machine_file_version = 3;

/// A machine as JSON, units in the key names; a fitted quantity is [value, low, high], or one number where nothing is
/// known of its interval. Rates of 0, and phases whose rates all are, are left out, and read as such.
/// InputError, beginning with `where`, for what is not JSON, another version, unknown keys with the nearest ones,
/// missing parts, and numbers that are negative, not finite or not within their interval.
[[nodiscard]] Machine read_machine(std::string_view json, std::string_view where);
/// What read_machine reads back as an equal machine. InvariantError for a machine that it would refuse.
[[nodiscard]] std::string machine_text(const Machine& machine);

}  // namespace conclave::sim
