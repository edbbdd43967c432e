// SPDX-License-Identifier: BSD-3-Clause
// What the routers without scores share: they say which experts a token asks for; each of its n choices has the gate
// 1/n; there is nothing to learn, and slots are served by position.
#pragma once

#include "gating/router.hpp"

namespace conclave::gating {

template <class T>
class FixedRouter : public Router<T> {
 public:
  FixedRouter(RouterOptions options, Index seed) : Router<T>(served_by_position(std::move(options)), seed) {}

  [[nodiscard]] std::unique_ptr<RouterTape<T>> make_tape() const final { return std::make_unique<RouterTape<T>>(); }
  void choose(ParameterView<const T>, const RouterInput<T>& input, RouterTape<T>& tape) const final {
    choose_experts(input, tape.choices);
  }
  void settle(const RouterInput<T>& input, RouterTape<T>& tape) const final;
  void backward(ParameterView<const T>, const RouterInput<T>&, const RouterTape<T>&, std::span<const T>,
                const LossCotangent&, MatrixView<T>, ParameterView<T>) const final {}

 protected:
  /// choices: to be resized to [S, k] and filled, no_expert where a token has fewer.
  virtual void choose_experts(const RouterInput<T>& input, Matrix<std::int32_t>& choices) const = 0;

 private:
  static RouterOptions served_by_position(RouterOptions options) {
    options.priority = Priority::position;
    options.overflow = Overflow::drop;
    return options;
  }
};

}  // namespace conclave::gating
