// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/train/adamw.hpp"

#include "runtime/core/update_kernels.hpp"

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
    const double decayed1 = std::pow(options_.beta1, t);
    const double decayed2 = std::pow(options_.beta2, t);
    const AdamwFactors factors{.scale = static_cast<float>(update.gradient_scale),
                               .beta1 = static_cast<float>(options_.beta1),
                               .rest1 = static_cast<float>(1.0 - options_.beta1),
                               .beta2 = static_cast<float>(options_.beta2),
                               .rest2 = static_cast<float>(1.0 - options_.beta2),
                               .rate = static_cast<float>(update.learning_rate / (1.0 - decayed1)),
                               .unbias2 = static_cast<float>(1.0 / (1.0 - decayed2)),
                               .epsilon = static_cast<float>(options_.epsilon),
                               .keep = static_cast<float>(1.0 - update.learning_rate * update.weight_decay)};
    adamw_update(factors, values, gradient, state[0], state[1]);
  }

 private:
  OptimizerOptions options_;
};

}  // namespace

std::unique_ptr<Optimizer> make_adamw(const OptimizerOptions& options) { return std::make_unique<AdamW>(options); }

}  // namespace conclave::train
