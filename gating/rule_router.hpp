// SPDX-License-Identifier: BSD-3-Clause
// Routing by a table that the user gives (rule_table.hpp).
#pragma once

#include "gating/router.hpp"

namespace conclave::gating {

/// InputError, naming the rule, if options.rules cannot be read; while routing, for a token that no rule fits.
template <class T>
[[nodiscard]] std::unique_ptr<Router<T>> make_rule_router(const RouterOptions& options, Index seed, Index width,
                                                          ParameterList& parameters, const std::string& prefix);

}  // namespace conclave::gating
