// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/train/sgd.hpp"

#include "runtime/core/update_kernels.hpp"

namespace conclave::train {
namespace {

class Sgd final : public Optimizer {
 public:
  explicit Sgd(const OptimizerOptions& options) : momentum_(static_cast<float>(options.momentum)) {}

  [[nodiscard]] std::vector<std::string> states() const override { return {"momentum"}; }

  void apply(const Update& update, std::span<float> values, std::span<const float> gradient,
             std::span<const std::span<float>> state) const override {
    const MomentumFactors factors{.scale = static_cast<float>(update.gradient_scale),
                                  .momentum = momentum_,
                                  .rate = static_cast<float>(update.learning_rate),
                                  .keep = static_cast<float>(1.0 - update.learning_rate * update.weight_decay)};
    momentum_update(factors, values, gradient, state[0]);
  }

 private:
  float momentum_;
};

}  // namespace

std::unique_ptr<Optimizer> make_sgd(const OptimizerOptions& options) { return std::make_unique<Sgd>(options); }

}  // namespace conclave::train
