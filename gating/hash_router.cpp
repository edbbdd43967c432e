// SPDX-License-Identifier: BSD-3-Clause
#include "gating/hash_router.hpp"

#include "gating/fixed_router.hpp"

namespace conclave::gating {
namespace {

/// e_0, e_1, ...: the draws R(key, 0), R(key, 1), ... mod E, passing over experts that the token has already.
void draw_distinct(const Random& random, Index key, Index num_experts, std::span<std::int32_t> choices) {
  Index next = 0;
  for (auto choice = choices.begin(); choice != choices.end(); ++choice) {
    do {
      *choice = static_cast<std::int32_t>(static_cast<Index>(random.bits(key, next++)) % num_experts);
    } while (std::find(choices.begin(), choice, *choice) != choice);
  }
}

template <class T>
class HashRouter final : public FixedRouter<T> {
 public:
  HashRouter(const RouterOptions& options, Index seed)
      : FixedRouter<T>(options, seed), hash_(seed, RandomStream::hash) {}

 protected:
  void choose_experts(const RouterInput<T>& input, Matrix<std::int32_t>& choices) const override {
    invariant(static_cast<Index>(input.token_ids.size()) == input.x.rows, "{} token ids for {} tokens",
              input.token_ids.size(), input.x.rows);
    choices.resize(input.x.rows, this->options().top_k);
    for (Index t = 0; t < input.x.rows; ++t) {
      draw_distinct(hash_, input.token_ids[static_cast<std::size_t>(t)], this->options().experts, choices.row(t));
    }
  }

 private:
  Random hash_;
};

template <class T>
class RandomRouter final : public FixedRouter<T> {
 public:
  using FixedRouter<T>::FixedRouter;

 protected:
  void choose_experts(const RouterInput<T>& input, Matrix<std::int32_t>& choices) const override {
    const Random random = this->random(RandomStream::random, input);
    choices.resize(input.x.rows, this->options().top_k);
    for (Index t = 0; t < input.x.rows; ++t) {
      draw_distinct(random, input.first_token.value() + t, this->options().experts, choices.row(t));
    }
  }
};

}  // namespace

template <class T>
std::unique_ptr<Router<T>> make_hash_router(const RouterOptions& options, Index seed, Index, ParameterList&,
                                            const std::string&) {
  return std::make_unique<HashRouter<T>>(options, seed);
}

template std::unique_ptr<Router<float>> make_hash_router(const RouterOptions&, Index, Index, ParameterList&,
                                                         const std::string&);
template std::unique_ptr<Router<double>> make_hash_router(const RouterOptions&, Index, Index, ParameterList&,
                                                          const std::string&);

template <class T>
std::unique_ptr<Router<T>> make_random_router(const RouterOptions& options, Index seed, Index, ParameterList&,
                                              const std::string&) {
  return std::make_unique<RandomRouter<T>>(options, seed);
}

template std::unique_ptr<Router<float>> make_random_router(const RouterOptions&, Index, Index, ParameterList&,
                                                           const std::string&);
template std::unique_ptr<Router<double>> make_random_router(const RouterOptions&, Index, Index, ParameterList&,
                                                            const std::string&);

}  // namespace conclave::gating
