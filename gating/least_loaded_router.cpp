// SPDX-License-Identifier: BSD-3-Clause
#include "gating/least_loaded_router.hpp"

#include "gating/fixed_router.hpp"
#include "runtime/core/scratch.hpp"

namespace conclave::gating {
namespace {

template <class T>
class LeastLoadedRouter final : public FixedRouter<T> {
 public:
  LeastLoadedRouter(const RouterOptions& options, Index seed)
      : FixedRouter<T>(options, seed), weight_(options.load_weights()) {}

 protected:
  void choose_experts(const RouterInput<T>& input, Matrix<std::int32_t>& choices) const override {
    choices.resize(input.x.rows, this->options().top_k);
    Scratch scratch;
    const std::span<Index> claims = scratch.values<Index>(std::ssize(weight_), 0);
    for (Index t = 0; t < input.x.rows; ++t) {
      const auto row = choices.row(t);
      for (auto choice = row.begin(); choice != row.end(); ++choice) {
        *choice = least_loaded(claims, {row.begin(), choice});
        ++claims[static_cast<std::size_t>(*choice)];
      }
    }
  }

 private:
  // The expert with the smallest claims / weight that the token does not hold; ties: the lower one.
  [[nodiscard]] std::int32_t least_loaded(std::span<const Index> claims, std::span<const std::int32_t> held) const {
    std::int32_t best = no_expert;
    double least = 0.0;
    for (std::size_t e = 0; e < weight_.size(); ++e) {
      const auto expert = static_cast<std::int32_t>(e);
      if (std::find(held.begin(), held.end(), expert) != held.end()) continue;
      const double load = static_cast<double>(claims[e]) / weight_[e];
      if (best != no_expert && !(load < least)) continue;
      best = expert;
      least = load;
    }
    return best;
  }

  std::vector<double> weight_;  // [E]
};

}  // namespace

template <class T>
std::unique_ptr<Router<T>> make_least_loaded_router(const RouterOptions& options, Index seed, Index, ParameterList&,
                                                    const std::string&) {
  return std::make_unique<LeastLoadedRouter<T>>(options, seed);
}

template std::unique_ptr<Router<float>> make_least_loaded_router(const RouterOptions&, Index, Index, ParameterList&,
                                                                 const std::string&);
template std::unique_ptr<Router<double>> make_least_loaded_router(const RouterOptions&, Index, Index, ParameterList&,
                                                                  const std::string&);

}  // namespace conclave::gating
