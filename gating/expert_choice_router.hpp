// SPDX-License-Identifier: BSD-3-Clause
// Expert choice (Zhou et al. 2022): each expert takes the C tokens of the group that score it highest, so the load is
// even by construction, and a token may have many experts or none. It looks at the whole group at once: in a causal
// language model a token's routing then depends on tokens that follow it.
#pragma once

#include "gating/router.hpp"

namespace conclave::gating {

template <class T>
[[nodiscard]] std::unique_ptr<Router<T>> make_expert_choice_router(const RouterOptions& options, Index seed,
                                                                   Index width, ParameterList& parameters,
                                                                   const std::string& prefix);

}  // namespace conclave::gating
