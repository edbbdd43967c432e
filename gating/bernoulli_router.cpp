// SPDX-License-Identifier: BSD-3-Clause
#include "gating/bernoulli_router.hpp"

#include "gating/fixed_router.hpp"
#include "runtime/core/scratch.hpp"

#include <numeric>

namespace conclave::gating {
namespace {

template <class T>
class BernoulliRouter final : public FixedRouter<T> {
 public:
  BernoulliRouter(const RouterOptions& options, Index seed)
      : FixedRouter<T>(options, seed), activation_(options.activations()) {}

 protected:
  void choose_experts(const RouterInput<T>& input, Matrix<std::int32_t>& choices) const override {
    const Random random = this->random(RandomStream::bernoulli, input);
    Scratch scratch;
    const auto active = scratch.matrix<char>(input.x.rows, std::ssize(activation_));  // 1: the token has the expert
    Index most = 0;
    for (Index t = 0; t < active.rows; ++t) {
      most = std::max(most, draw_active(random, input.first_token.value() + t, active.row(t)));
    }
    choices.resize(active.rows, most);
    choices.fill(no_expert);
    for (Index t = 0; t < active.rows; ++t) {
      auto choice = choices.row(t).begin();
      for (Index e = 0; e < active.cols; ++e) {
        if (active(t, e) != 0) *choice++ = static_cast<std::int32_t>(e);
      }
    }
  }

  // The mean number active; a token that draws none is not counted in it.
  [[nodiscard]] double mean_choices() const override {
    return std::accumulate(activation_.begin(), activation_.end(), 0.0);
  }

 private:
  // Marks the token's experts, and returns their number. active: [E]
  Index draw_active(const Random& random, Index token, std::span<char> active) const {
    const Index num_experts = std::ssize(activation_);
    for (Index e = 0; e < num_experts; ++e) {
      const auto at = static_cast<std::size_t>(e);
      active[at] = random.uniform(token, e) < activation_[at] ? 1 : 0;
    }
    const Index count = std::ranges::count(active, char{1});
    if (count > 0) return count;
    active[static_cast<std::size_t>(static_cast<Index>(random.bits(token, num_experts)) % num_experts)] = 1;
    return 1;
  }

  std::vector<double> activation_;  // [E]
};

}  // namespace

template <class T>
std::unique_ptr<Router<T>> make_bernoulli_router(const RouterOptions& options, Index seed, Index, ParameterList&,
                                                 const std::string&) {
  return std::make_unique<BernoulliRouter<T>>(options, seed);
}

template std::unique_ptr<Router<float>> make_bernoulli_router(const RouterOptions&, Index, Index, ParameterList&,
                                                              const std::string&);
template std::unique_ptr<Router<double>> make_bernoulli_router(const RouterOptions&, Index, Index, ParameterList&,
                                                               const std::string&);

}  // namespace conclave::gating
