// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/train/adamw.hpp"

#include <cmath>

namespace conclave::train {
namespace {

class AdamW final : public Optimizer {
 public:
  explicit AdamW(const OptimizerOptions& options) : options_(options) {}

  [[nodiscard]] std::vector<std::string> states() const override { return {"m", "v"}; }

  void apply(const Update& update, std::span<float> values, std::span<const float> gradient,
             std::span<const std::span<float>> state) const override {
    const auto t = static_cast<double>(update.step + 1);
    const auto beta1 = static_cast<float>(options_.beta1);
    const auto beta2 = static_cast<float>(options_.beta2);
    const auto rest1 = static_cast<float>(1.0 - options_.beta1);
    const auto rest2 = static_cast<float>(1.0 - options_.beta2);
    const auto rate = static_cast<float>(update.learning_rate / (1.0 - std::pow(options_.beta1, t)));
    const auto unbias2 = static_cast<float>(1.0 / (1.0 - std::pow(options_.beta2, t)));
    const auto keep = static_cast<float>(1.0 - update.learning_rate * update.weight_decay);
    const auto epsilon = static_cast<float>(options_.epsilon);
    const auto scale = static_cast<float>(update.gradient_scale);
    float* __restrict w = values.data();
    float* __restrict m = state[0].data();
    float* __restrict v = state[1].data();
    const float* __restrict raw = gradient.data();
    for (std::size_t i = 0; i < values.size(); ++i) {
      const float g = scale * raw[i];
      m[i] = beta1 * m[i] + rest1 * g;
      v[i] = beta2 * v[i] + rest2 * (g * g);
      w[i] = keep * w[i] - rate * m[i] / (std::sqrt(v[i] * unbias2) + epsilon);
    }
  }

 private:
  OptimizerOptions options_;
};

}  // namespace

std::unique_ptr<Optimizer> make_adamw(const OptimizerOptions& options) { return std::make_unique<AdamW>(options); }

}  // namespace conclave::train
