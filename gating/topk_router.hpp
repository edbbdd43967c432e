// SPDX-License-Identifier: BSD-3-Clause
// The top-k router: each token chooses its k best experts (Shazeer et al. 2017; Lepikhin et al. 2021; Fedus et al.
// 2022; DeepSeek-V3), with the options of RouterOptions.
#pragma once

#include "gating/router.hpp"

namespace conclave::gating {

template <class T>
[[nodiscard]] std::unique_ptr<Router<T>> make_topk_router(const RouterOptions& options, Index seed, Index width,
                                                          ParameterList& parameters, const std::string& prefix);

}  // namespace conclave::gating
