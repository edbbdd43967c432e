// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <concepts>
#include <type_traits>
#include <utility>

namespace conclave {

template <class Signature>
class FunctionRef;

/// A borrowed callable: as std::function for a parameter that is called and not kept, without its allocation.
template <class Result, class... Args>
class FunctionRef<Result(Args...)> {
 public:
  template <class Function>
  requires(!std::same_as<std::remove_cvref_t<Function>, FunctionRef> &&
           std::is_invocable_r_v<Result, Function&, Args...>)
      FunctionRef(Function&& function)  // NOLINT(google-explicit-constructor): as std::function
      : function_(&function), call_([](const void* f, Args... args) -> Result {
          return (*static_cast<const std::remove_reference_t<Function>*>(f))(std::forward<Args>(args)...);
        }) {}

  Result operator()(Args... args) const { return call_(function_, std::forward<Args>(args)...); }

 private:
  const void* function_;
  Result (*call_)(const void*, Args...);
};

}  // namespace conclave
