// SPDX-License-Identifier: BSD-3-Clause
// The interface of all routers: one group in, a checked routing out, and the way back. A router sees one group at a
// time and knows no rank, so what it decides cannot depend on how many there are. Where experts have their slots over
// the whole step, a router says what each group asks for, and is told who is served.
#pragma once

#include "gating/capacity.hpp"
#include "gating/losses.hpp"
#include "gating/options.hpp"
#include "gating/routing.hpp"
#include "runtime/core/parameters.hpp"
#include "runtime/core/random.hpp"

#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace conclave::gating {

/// What a router is told about one group.
template <class T>
struct RouterInput {
  ConstMatrixView<T> x;                     // [S, width] the layer's input
  std::span<const std::int32_t> token_ids;  // [S] vocabulary numbers
  std::span<const std::int32_t> domains;    // [S] the domain of each token's document, or empty: not known
  std::span<const T> selection_bias;        // [num_experts], or empty: zero
  TokenId first_token;                      // the group's first token, in the step's global order
  Index layer = 0;
  Index step = 0;
  bool training = true;           // false: scores are not disturbed, and the capacity factor is that of evaluation
  bool notes_not_finite = false;  // logits that are not finite are noted in the tape, not refused
};

/// What one group's routing leaves for its backward; made by the router it belongs to, reused from step to step.
template <class T>
class RouterTape {
 public:
  virtual ~RouterTape() = default;
  // What choose() leaves for serving, k choices a token.
  Matrix<std::int32_t> choices;       // [S, k] experts asked for, best first; no_expert where a token asks for fewer
  Matrix<char> refused;               // [S, k] 1: makes no claim; or no rows
  Matrix<T> key;                      // [S, k] what the options' priority looks at; or no rows: position
  ConstMatrixView<T> reroute_by;      // [S, E] selection scores; or no rows, where nothing is re-routed
  Matrix<std::int32_t> serving;       // [S, k] the expert that serves the choice, or no_expert
  std::optional<TokenId> not_finite;  // the first token whose logits were not finite and are taken for 0
  // What settle() makes of it.
  Routing<T> routing;
  BalanceTerms balance;
};

template <class T>
class Router {
 public:
  Router(const RouterOptions& options, Index seed) : options_(options), seed_(seed) {}
  virtual ~Router() = default;
  Router(const Router&) = delete;
  Router& operator=(const Router&) = delete;

  [[nodiscard]] virtual std::unique_ptr<RouterTape<T>> make_tape() const = 0;

  /// Routes one group: fills tape.routing and tape.balance. Thread-safe for different tapes, as its three parts are.
  void route(ParameterView<const T> parameters, const RouterInput<T>& input, RouterTape<T>& tape) const;

  /// The first part of route(): scores the tokens and says which experts they ask for.
  virtual void choose(ParameterView<const T> parameters, const RouterInput<T>& input, RouterTape<T>& tape) const = 0;
  /// The second part, with the slots of this group by itself: fills tape.serving.
  void serve(const RouterInput<T>& input, RouterTape<T>& tape) const;
  /// The last part: forms the routing and the losses from tape.serving.
  virtual void settle(const RouterInput<T>& input, RouterTape<T>& tape) const = 0;

  /// Slots and order among num_tokens tokens, a group's or a step's.
  [[nodiscard]] CapacityRule capacity_rule(bool training, Index num_tokens) const;

  /// The backward of route() for the same input. d_gates[i] is the gradient of the i-th kept choice's gate; `losses`
  /// that of the losses. Adds to dx [S, width] and to the group's leaf of the parameters' gradient.
  virtual void backward(ParameterView<const T> parameters, const RouterInput<T>& input, const RouterTape<T>& tape,
                        std::span<const T> d_gates, const LossCotangent& losses, MatrixView<T> dx,
                        ParameterView<T> gradient) const = 0;

 protected:
  /// k of the capacity formula.
  [[nodiscard]] virtual double mean_choices() const { return static_cast<double>(options_.top_k); }
  /// The draws of a stream for the input's layer and step.
  [[nodiscard]] Random random(RandomStream stream, const RouterInput<T>& input) const {
    return Random(seed_, stream, input.layer, input.step);
  }
  [[nodiscard]] const RouterOptions& options() const { return options_; }

 private:
  RouterOptions options_;
  Index seed_;
};

/// A member of the family: its name, one line of help, and how to make it for float and double. The maker registers the
/// router's tensors under `prefix`.
struct RouterKind {
  template <class T>
  using Make = std::unique_ptr<Router<T>> (*)(const RouterOptions& options, Index seed, Index width,
                                              ParameterList& parameters, const std::string& prefix);
  std::string_view name;
  std::string_view help;
  bool has_scores;  // routes by learned scores: has parameters, and losses that train them
  Make<float> make_float;
  Make<double> make_double;
};

[[nodiscard]] const std::vector<RouterKind>& router_kinds();
/// The kind of that name; InputError naming the valid ones for any other.
[[nodiscard]] const RouterKind& find_router(std::string_view name);
/// "topk (the k best experts of each token)", for help.
[[nodiscard]] std::string router_names();

/// The router that the options name. InputError for an unknown name.
template <class T>
[[nodiscard]] std::unique_ptr<Router<T>> make_router(const RouterOptions& options, Index seed, Index width,
                                                     ParameterList& parameters, const std::string& prefix);

}  // namespace conclave::gating
