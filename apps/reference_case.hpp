// SPDX-License-Identifier: BSD-3-Clause
// A reference case of the MoE layer: inputs, parameters and what must come out, in one HDF5 file.
#pragma once

#include "runtime/model/moe_layer.hpp"
#include "runtime/train/hdf5.hpp"

#include <map>
#include <string>

namespace conclave::apps {

/// Arrays are known by their path below /params or /expected/grad: "router_weight", "expert/0003/w1", "x".
struct ReferenceCase {
  std::string name;  // the file's, without its ending
  model::MoeShape shape;
  Index tokens = 0;
  Index groups = 0;
  Index seed = 0;
  Index layer = 0;
  Index step = 0;
  std::vector<double> x;                // [tokens, width]
  std::vector<double> dy;               // [tokens, width] the cotangent of y
  std::vector<std::int32_t> token_ids;  // [tokens]
  std::map<std::string, std::vector<double>> parameters;

  // What must come out, computed in float64.
  std::vector<double> y;  // [tokens, width]
  std::map<std::string, std::vector<double>> gradients;
  std::vector<double> combine;  // [tokens, experts] gates of kept choices
  std::vector<Index> load;      // [experts]
  Index dropped = 0;
  double balance = 0.0;
  double z = 0.0;
  double importance = 0.0;
};

/// Reads a case. InputError for a file that is none, and for a case that asks for what this program cannot do.
[[nodiscard]] ReferenceCase read_case(const std::filesystem::path& path);

}  // namespace conclave::apps
