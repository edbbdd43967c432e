// SPDX-License-Identifier: BSD-3-Clause
#include "apps/calibration_shapes.hpp"

namespace conclave::apps {
namespace {

using Kind = experts::ExpertKind;

struct Sizes {
  bool is_quick;
  Index width, heads, context;
  Index sequences, groups, passes;
  Index layers, moe_every;
  Kind kind;
  Index experts, hidden, top_k;
};

// Rows of an expert go from 4 to 4096, its weights from 8 kB to 12 MB, tokens of a group from 32 to 2048.
constexpr std::array all_sizes{
    Sizes{true, 128, 4, 64, 4, 2, 1, 2, 1, Kind::gelu, 8, 256, 2},
    Sizes{true, 64, 2, 32, 8, 4, 1, 4, 1, Kind::gelu, 8, 128, 2},
    Sizes{true, 64, 4, 256, 2, 2, 1, 1, 1, Kind::relu, 4, 256, 1},
    Sizes{true, 96, 3, 48, 12, 12, 1, 2, 1, Kind::swiglu, 6, 192, 2},
    Sizes{true, 64, 1, 64, 16, 2, 1, 1, 1, Kind::relu, 8, 64, 2},
    Sizes{true, 128, 2, 128, 2, 2, 1, 1, 1, Kind::gelu, 32, 128, 4},
    Sizes{true, 192, 3, 32, 4, 2, 1, 1, 1, Kind::gelu, 16, 384, 1},
    Sizes{true, 128, 4, 64, 4, 2, 1, 1, 0, Kind::gelu, 1, 512, 1},
    Sizes{true, 64, 4, 64, 16, 16, 2, 1, 0, Kind::swiglu, 1, 384, 1},
    Sizes{true, 96, 6, 64, 8, 8, 4, 2, 2, Kind::linear, 8, 384, 2},
    Sizes{true, 32, 2, 16, 32, 8, 1, 3, 1, Kind::gelu, 4, 512, 3},
    Sizes{true, 256, 4, 16, 8, 1, 1, 2, 2, Kind::gelu, 2, 128, 1},
    Sizes{false, 128, 4, 64, 16, 16, 1, 2, 1, Kind::relu, 16, 512, 1},
    Sizes{false, 256, 4, 128, 8, 4, 1, 2, 1, Kind::gelu, 8, 512, 2},
    Sizes{false, 256, 8, 64, 16, 8, 2, 2, 1, Kind::swiglu, 16, 1024, 1},
    Sizes{false, 512, 8, 128, 8, 4, 1, 1, 1, Kind::gelu, 8, 1024, 2},
    Sizes{false, 512, 16, 256, 4, 2, 1, 1, 1, Kind::gelu, 4, 2048, 1},
    Sizes{false, 384, 6, 512, 2, 1, 1, 1, 1, Kind::swiglu, 4, 768, 2},
    Sizes{false, 192, 3, 96, 12, 3, 1, 3, 1, Kind::gelu, 12, 384, 3},
    Sizes{false, 128, 2, 512, 4, 4, 1, 1, 1, Kind::gelu, 32, 128, 4},
    Sizes{false, 768, 12, 64, 4, 2, 1, 1, 1, Kind::gelu, 4, 1536, 1},
    Sizes{false, 256, 4, 32, 32, 4, 1, 2, 1, Kind::relu, 64, 256, 2},
    Sizes{false, 512, 8, 64, 4, 4, 1, 1, 1, Kind::gelu, 32, 512, 1},
    Sizes{false, 320, 5, 160, 4, 2, 1, 1, 1, Kind::linear, 8, 320, 2},
    Sizes{false, 128, 8, 128, 32, 2, 1, 1, 1, Kind::gelu, 4, 1024, 1},
    Sizes{false, 256, 2, 256, 8, 8, 4, 1, 1, Kind::gelu, 2, 1024, 1},
    Sizes{false, 512, 4, 32, 16, 16, 1, 1, 1, Kind::swiglu, 16, 256, 2},
    Sizes{false, 256, 4, 128, 8, 8, 1, 2, 0, Kind::gelu, 1, 1024, 1},
    Sizes{false, 512, 8, 64, 8, 2, 1, 1, 0, Kind::swiglu, 1, 2048, 1},
    Sizes{false, 192, 6, 64, 16, 4, 1, 2, 2, Kind::gelu, 8, 768, 2},
};

std::string name_of_sizes(const Sizes& s) {
  const std::string passes = s.passes == 1 ? "" : fmt::format("/{}", s.passes);
  const std::string choices = s.moe_every == 0 ? "" : fmt::format(" k{}", s.top_k);
  const std::string dense = s.moe_every == 0 ? " dense" : s.moe_every == 1 ? "" : " every 2nd";
  return fmt::format("w{} h{} c{} {}/{}{} x{} {} {}x{}{}{}", s.width, s.heads, s.context, s.sequences, s.groups, passes,
                     s.layers, name_of(s.kind), s.experts, s.hidden, choices, dense);
}

train::TrainOptions options_of(const Sizes& s) {
  train::TrainOptions o;
  o.model.layers = s.layers;
  o.model.width = s.width;
  o.model.heads = s.heads;
  o.model.context = s.context;
  o.model.moe_every = s.moe_every;
  o.model.dense_kind = s.kind;
  o.model.dense_hidden = s.hidden;
  o.model.router.experts = s.experts;
  o.model.router.top_k = s.top_k;
  o.model.router.capacity_factor = 0.0;
  o.model.experts.expert_kind = {std::string(name_of(s.kind))};
  o.model.experts.expert_hidden = {s.hidden};
  o.sequences = s.sequences;
  o.groups = s.groups;
  o.passes = s.passes;
  o.data.corpus.sequences = 1000;
  o.transport.exchange = "flat";
  o.transport.waves = 1;
  return o;
}

}  // namespace

std::vector<CalibrationShape> calibration_shapes(bool quick) {
  std::vector<CalibrationShape> shapes;
  for (const Sizes& sizes : all_sizes) {
    if (sizes.is_quick || !quick) shapes.push_back({name_of_sizes(sizes), options_of(sizes)});
  }
  return shapes;
}

}  // namespace conclave::apps
