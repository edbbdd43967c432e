// SPDX-License-Identifier: BSD-3-Clause
// What was measured of a machine, as simulations read it and as people do.
#pragma once

#include "apps/message_timing.hpp"
#include "apps/step_timing.hpp"

namespace conclave::apps {

/// Bytes per second that a rank copies in memory, alone and while all ranks of its node do: a fact beside the
/// calibration, which shows how much they share.
struct CopyRates {
  double alone_Bps = 0.0;
  double together_Bps = 0.0;
};

struct Calibration {
  CacheFit compute;  // by rising numbers of busy ranks
  std::optional<MessageFit> node;
  std::optional<MessageFit> network;
  std::vector<sim::ExchangeFactor> exchanges;  // between nodes
  std::optional<SharedMemoryFit> shared_memory;
  sim::LineFit file;  // as a line of messages: its latency and its bandwidth
  CopyRates copies;
  double noise = 0.0;  // of the steps that were timed at the beginning and at the end: slowest over fastest, less 1
  sim::Provenance provenance;
};

/// What simulations read. A phase's residuals are those of the number of busy ranks where they are worst; of wait,
/// those of messages.
[[nodiscard]] sim::Machine machine_of(const Calibration& calibration);

/// Every parameter with its interval, and how far the measurements lie off.
[[nodiscard]] std::string table_text(const Calibration& calibration);

/// The measurements that the rates were fitted to, with commas: of each shape and phase the work, the measured and the
/// fitted seconds.
[[nodiscard]] std::string csv_text(const Calibration& calibration);

}  // namespace conclave::apps
