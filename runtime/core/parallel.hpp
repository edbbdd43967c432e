// SPDX-License-Identifier: BSD-3-Clause
// Threads share out whole calls: (group), (expert, row block), (attention head). Which thread takes which call never
// matters to the result, so any number of threads gives the same bits.
#pragma once

#include "runtime/core/function_ref.hpp"
#include "runtime/core/ids.hpp"

#include <algorithm>

namespace conclave {

/// The number of threads that parallel_for uses, for the whole process; 1 until it is set. InputError below 1 and above
/// 4096.
void use_threads(Index num_threads);
[[nodiscard]] Index num_threads();

/// Calls body(i) once for every i in [0, count), in any order and on any thread; returns when all are done. Where
/// bodies throw, the exception of the lowest i is thrown again here, after the others have ended; calls above it may be
/// left out. Not to be nested, which is an InvariantError. The calling thread calls `between` after each of its own
/// calls of body: for what only it may do and what cannot wait for the end, such as progress of messages.
void parallel_for(
    Index count, FunctionRef<void(Index)> body, FunctionRef<void()> between = [] {});

/// body(i) for every row i in [0, rows), as parallel_for: for work on rows that is too little for a call each.
template <class Body>
void parallel_for_rows(Index rows, const Body& body) {
  constexpr Index rows_a_call = 64;
  parallel_for((rows + rows_a_call - 1) / rows_a_call, [&](Index call) {
    const Index end = std::min((call + 1) * rows_a_call, rows);
    for (Index i = call * rows_a_call; i < end; ++i) body(i);
  });
}

}  // namespace conclave
