// SPDX-License-Identifier: BSD-3-Clause
// How rows travel between the ranks of a model.
#pragma once

#include "comm/plan/memory_need.hpp"
#include "runtime/model/step.hpp"

#include <memory>
#include <optional>

namespace conclave::model {

struct TransportOptions {
  std::string exchange = "auto";  // a name of comm::exchange_strategies()
  std::optional<Index> waves;     // nothing: by nodes and exchange
  Wire wire = Wire::fp32;
};

void describe(TransportOptions& options, OptionTable& table);
/// InputError for less than one wave.
void validate(const TransportOptions& options);
/// "flat (every rank sends to every peer directly), ..."
[[nodiscard]] std::string exchange_names();

/// What formulas of memory would know on rank `rank` of other ranks than these: those of `topology`. Refers to
/// `options`. InputError as of Transport. Collective over the ranks that ask.
[[nodiscard]] plan::RowTransport planned_row_transport(const TransportOptions& options,
                                                       const comm::Communicator& asking, const plan::Topology& topology,
                                                       RankId rank);

/// What the options ask for, on the ranks of a communicator, which must outlive it.
class Transport {
 public:
  /// Where waves are left open: 1 on one node, whose ranks copy rows themselves, and 4 where a network can carry them
  /// meanwhile, unless the exchange merges copies, of which waves would leave fewer together. InputError as validate,
  /// and for an unknown exchange. Collective.
  Transport(const TransportOptions& options, const comm::Communicator& communicator);
  [[nodiscard]] const comm::Exchange& exchange() const { return *exchange_; }
  /// Refers to this object.
  [[nodiscard]] Ranks ranks() const { return {&communicator_, exchange_.get(), waves_, options_.wire}; }
  /// What formulas of memory know of it on this rank. Refers to this object.
  [[nodiscard]] plan::RowTransport row_transport() const;

 private:
  const comm::Communicator& communicator_;
  TransportOptions options_;
  std::unique_ptr<comm::Exchange> exchange_;
  Index waves_;
};

}  // namespace conclave::model
