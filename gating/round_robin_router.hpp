// SPDX-License-Identifier: BSD-3-Clause
// Every expert in turn: an even load for measuring.
#pragma once

#include "gating/router.hpp"

namespace conclave::gating {

template <class T>
[[nodiscard]] std::unique_ptr<Router<T>> make_round_robin_router(const RouterOptions& options, Index seed, Index width,
                                                                 ParameterList& parameters, const std::string& prefix);

}  // namespace conclave::gating
