// SPDX-License-Identifier: BSD-3-Clause
// A training step as sizes: all that its cost depends on, whoever asks for it.
#pragma once

#include "gating/capacity.hpp"
#include "runtime/core/ids.hpp"

#include <algorithm>
#include <string>
#include <vector>

namespace conclave::sim {

inline constexpr double element_bytes = 4.0;  // of a float32

/// One expert's, or a dense layer's, feed-forward: its matrices, each [hidden, width] or [width, hidden].
struct FeedForwardSizes {
  Index width = 0;
  Index hidden = 0;      // of a linear expert its width
  Index matrices = 2;    // 1 linear, 2, or 3 with a gate
  Index parameters = 0;  // biases included

  /// Elements that a row is multiplied by.
  [[nodiscard]] double multiplied() const {
    return static_cast<double>(matrices) * static_cast<double>(width) * static_cast<double>(hidden);
  }
  friend bool operator==(const FeedForwardSizes&, const FeedForwardSizes&) = default;
};

/// An MoE layer; all of a model's are alike.
struct MoeSizes {
  std::vector<FeedForwardSizes> experts{};  // one each
  std::vector<FeedForwardSizes> shared{};   // that every token passes
  double choices = 0.0;                     // of a token, on average: k
  Index slots = 0;                          // of each expert among the tokens that compete
  Index competing = 0;                      // tokens: a group's, or a step's
  Index gate_elements = 0;                  // of the router's matrices
  bool merges_sums = true;                  // results enter sums, so that backward sends copies of dy and their weights
  [[nodiscard]] Index num_experts() const { return std::ssize(experts); }
  friend bool operator==(const MoeSizes&, const MoeSizes&) = default;
};

/// How rows travel.
struct TransportSizes {
  std::string exchange = "flat";  // a strategy of the runtime, by its name
  Index waves = 1;                // parts of a rank's experts
  double wire_bytes = 4.0;        // of an element on its way
  friend bool operator==(const TransportSizes&, const TransportSizes&) = default;
};

/// Parameters that every rank has whole and that are reduced as one, as soon as backward has come past them.
struct ReducedRun {
  Index elements = 0;
  Index blocks_after = 0;        // that backward comes to only then
  double attention_after = 0.0;  // the part of one block's attention, backward, that comes then, too
  friend bool operator==(const ReducedRun&, const ReducedRun&) = default;
};

/// A training step of a language model, over all ranks.
struct Workload {
  // Tokens.
  Index groups = 0;  // of a step
  Index passes = 1;  // that share them out
  Index group_tokens = 0;
  Index context = 0;  // tokens of a sequence
  // The model.
  Index width = 0;
  Index heads = 0;
  Index vocabulary = 0;
  bool tied_head = false;
  Index dense_blocks = 0;  // with a dense feed-forward
  Index moe_blocks = 0;
  Index norms = 2;  // of a block: 1 without residual connections
  FeedForwardSizes dense{};
  MoeSizes moe{};
  Index replicated_parameters = 0;
  std::vector<ReducedRun> reduced_runs{};  // what they are reduced in, last ones first; none: all at the pass' end
  // The run.
  TransportSizes transport{};
  Index states = 2;            // arrays of optimizer state
  Index threads = 1;           // of a rank
  Index checkpoint_every = 0;  // steps; 0: only at the end

  [[nodiscard]] Index groups_in_pass() const { return groups / passes; }
  [[nodiscard]] Index tokens() const { return groups * group_tokens; }
  [[nodiscard]] Index num_reductions() const { return std::max<Index>(1, std::ssize(reduced_runs)); }
  [[nodiscard]] Index blocks() const { return dense_blocks + moe_blocks; }
  /// Parameters over all ranks, and the bytes of a checkpoint of them with the optimizer's state.
  [[nodiscard]] double parameters() const;
  [[nodiscard]] double checkpoint_bytes() const;
  friend bool operator==(const Workload&, const Workload&) = default;
};

/// InvariantError for sizes that no step has: negative ones, groups that do not divide into passes, MoE blocks without
/// experts.
void check(const Workload& workload);

}  // namespace conclave::sim
