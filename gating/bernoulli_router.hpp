// SPDX-License-Identifier: BSD-3-Clause
// Every expert is active for a token with a probability of its own, independently of the others; a token without an
// active expert draws one.
#pragma once

#include "gating/router.hpp"

namespace conclave::gating {

template <class T>
[[nodiscard]] std::unique_ptr<Router<T>> make_bernoulli_router(const RouterOptions& options, Index seed, Index width,
                                                               ParameterList& parameters, const std::string& prefix);

}  // namespace conclave::gating
