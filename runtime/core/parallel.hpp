// SPDX-License-Identifier: BSD-3-Clause
// Threads share out whole calls: (group), (expert, row block), (attention head). Which thread takes which call never
// matters to the result, so any number of threads gives the same bits.
#pragma once

#include "runtime/core/ids.hpp"

#include <functional>

namespace conclave {

/// The number of threads that parallel_for uses, for the whole process. At least 1.
void use_threads(Index num_threads);
[[nodiscard]] Index num_threads();

/// Calls body(i) once for every i in [0, count), in any order and on any thread; returns when all are done. The first
/// exception thrown by a body is thrown again here, after the others have ended. Not to be nested.
void parallel_for(Index count, const std::function<void(Index)>& body);

}  // namespace conclave
