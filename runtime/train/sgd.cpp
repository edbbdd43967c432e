// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/train/sgd.hpp"

namespace conclave::train {
namespace {

class Sgd final : public Optimizer {
 public:
  explicit Sgd(const OptimizerOptions& options) : momentum_(static_cast<float>(options.momentum)) {}

  [[nodiscard]] std::vector<std::string> states() const override { return {"momentum"}; }

  void apply(const Update& update, std::span<float> values, std::span<const float> gradient,
             std::span<const std::span<float>> state) const override {
    const auto rate = static_cast<float>(update.learning_rate);
    const auto keep = static_cast<float>(1.0 - update.learning_rate * update.weight_decay);
    const auto scale = static_cast<float>(update.gradient_scale);
    float* __restrict w = values.data();
    float* __restrict m = state[0].data();
    const float* __restrict g = gradient.data();
    for (std::size_t i = 0; i < values.size(); ++i) {
      m[i] = momentum_ * m[i] + scale * g[i];
      w[i] = keep * w[i] - rate * m[i];
    }
  }

 private:
  float momentum_;
};

}  // namespace

std::unique_ptr<Optimizer> make_sgd(const OptimizerOptions& options) { return std::make_unique<Sgd>(options); }

}  // namespace conclave::train
