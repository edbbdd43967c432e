// SPDX-License-Identifier: BSD-3-Clause
// Routing by draws that know nothing of the token's content: by a hash of its id, the same in every layer and step
// (hash layers, Roller et al. 2021), or at random.
#pragma once

#include "gating/router.hpp"

namespace conclave::gating {

template <class T>
[[nodiscard]] std::unique_ptr<Router<T>> make_hash_router(const RouterOptions& options, Index seed, Index width,
                                                          ParameterList& parameters, const std::string& prefix);

template <class T>
[[nodiscard]] std::unique_ptr<Router<T>> make_random_router(const RouterOptions& options, Index seed, Index width,
                                                            ParameterList& parameters, const std::string& prefix);

}  // namespace conclave::gating
