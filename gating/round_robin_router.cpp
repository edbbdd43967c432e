// SPDX-License-Identifier: BSD-3-Clause
#include "gating/round_robin_router.hpp"

#include "gating/fixed_router.hpp"

namespace conclave::gating {
namespace {

template <class T>
class RoundRobinRouter final : public FixedRouter<T> {
 public:
  using FixedRouter<T>::FixedRouter;

 protected:
  // e_j = (t k + j) mod E
  void choose_experts(const RouterInput<T>& input, Matrix<std::int32_t>& choices) const override {
    const Index top_k = this->options().top_k;
    choices.resize(input.x.rows, top_k);
    for (Index t = 0; t < input.x.rows; ++t) {
      for (Index j = 0; j < top_k; ++j) {
        choices(t, j) =
            static_cast<std::int32_t>(((input.first_token.value() + t) * top_k + j) % this->options().experts);
      }
    }
  }
};

}  // namespace

template <class T>
std::unique_ptr<Router<T>> make_round_robin_router(const RouterOptions& options, Index seed, Index, ParameterList&,
                                                   const std::string&) {
  return std::make_unique<RoundRobinRouter<T>>(options, seed);
}

template std::unique_ptr<Router<float>> make_round_robin_router(const RouterOptions&, Index, Index, ParameterList&,
                                                                const std::string&);
template std::unique_ptr<Router<double>> make_round_robin_router(const RouterOptions&, Index, Index, ParameterList&,
                                                                 const std::string&);

}  // namespace conclave::gating
