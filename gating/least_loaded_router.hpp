// SPDX-License-Identifier: BSD-3-Clause
// Each choice goes to the expert that has the fewest claims for its weight so far in the group: an even load, or one in
// given proportions.
#pragma once

#include "gating/router.hpp"

namespace conclave::gating {

template <class T>
[[nodiscard]] std::unique_ptr<Router<T>> make_least_loaded_router(const RouterOptions& options, Index seed, Index width,
                                                                  ParameterList& parameters, const std::string& prefix);

}  // namespace conclave::gating
