// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/core/vector_kernels.hpp"
#include "runtime/train/replicated_tensors.hpp"
#include "runtime/train/start.hpp"

#include <cmath>

namespace conclave::train {
namespace {

using model::Model;
std::string last_part(const std::string& name) { return name.substr(name.rfind('/') + 1); }

/// One of `parts` equal slices of a feed-forward's hidden width.
struct Slice {
  Index number = 0;
  Index parts = 1;

  /// The slice of the feed-forward's tensor `name`: rows of w1 and w3, columns of w2 and of the vectors b1 and b3.
  [[nodiscard]] ConstMatrixView<float> of(const std::string& name, ConstMatrixView<float> whole) const {
    if (parts == 1 || name == "b2") return whole;
    if (name == "w1" || name == "w3") return whole.row_block(number * (whole.rows / parts), whole.rows / parts);
    return whole.col_block(number * (whole.cols / parts), whole.cols / parts);
  }
};

/// Copies what `list` has of the feed-forward under `prefix`. The output matrix grows by the number of slices; the
/// output's bias does not: gates that sum to 1 give it back.
void copy_feed_forward(const NamedTensors& dense, const std::string& prefix, Slice slice, const ParameterList& list,
                       std::span<float> values) {
  const ParameterView<float> view{values};
  for (const ParameterEntry& entry : list.entries()) {
    const std::string name = last_part(entry.name);
    const auto found = dense.find(prefix + name);
    if (found == dense.end()) continue;  // a delta
    const MatrixView<float> to = view.matrix(entry.tensor);
    copy_values(slice.of(name, found->second), to);
    if (name != "w2") continue;
    for (float& weight : to.flat()) weight *= static_cast<float>(slice.parts);
  }
}

/// Adds to each tensor of expert `expert` normal draws times `noise` times the tensor's root mean square.
void add_noise(double noise, Index seed, Index block, ExpertId expert, const ParameterList& list,
               std::span<float> values) {
  Index number = 0;
  for (const ParameterEntry& entry : list.entries()) {
    const std::span<float> tensor =
        values.subspan(static_cast<std::size_t>(entry.tensor.offset), static_cast<std::size_t>(entry.tensor.size()));
    const double mean_square = sum_of_squares<float>(tensor) / static_cast<double>(tensor.size());
    const double deviation = noise * std::sqrt(mean_square);
    const Random random(seed, RandomStream::upcycle, block, number++);
    for (std::size_t i = 0; i < tensor.size(); ++i) {
      tensor[i] += static_cast<float>(deviation * random.normal(static_cast<Index>(i), expert.value()));
    }
  }
}

void fill_experts(const StartOptions& options, Index seed, const NamedTensors& dense, Index block,
                  model::MoeLayer<float>& layer) {
  const std::string prefix = fmt::format("block/{}/feed_forward/", block);
  experts::ExpertShard<float>& shard = layer.shard();
  copy_feed_forward(dense, prefix, {}, layer.base(), shard.base_values());
  for (LocalExpertId i; i < LocalExpertId{shard.num_experts()}; ++i) {
    const ExpertId expert = shard.global(i);
    const Slice slice{expert.value() % options.upcycle_split, options.upcycle_split};
    copy_feed_forward(dense, prefix, slice, shard.parameters(i), shard.values(i));
    if (options.upcycle_noise > 0.0) {
      add_noise(options.upcycle_noise, seed, block, expert, shard.parameters(i), shard.values(i));
    }
  }
}

}  // namespace

void upcycle(const StartOptions& options, Index seed, Model<float>& dense, Model<float>& model) {
  const NamedTensors tensors = replicated_tensors(dense);
  const ParameterView<float> values(model.values());
  for (const ParameterEntry& entry : model.replicated().entries()) {
    const auto found = tensors.find(entry.name);
    if (found != tensors.end()) copy_values(found->second, values.matrix(entry.tensor));  // all but routers
  }
  const auto layers = model.moe_layers();
  auto layer = layers.begin();
  for (Index b = 0; b < model.options().layers; ++b) {
    if (model.options().is_moe(b)) fill_experts(options, seed, tensors, b, **layer++);
  }
}

}  // namespace conclave::train
