// SPDX-License-Identifier: BSD-3-Clause
// Memory for large arrays.
#pragma once

#include <cstddef>

namespace conclave {

/// Uninitialised memory for arrays, 64-byte aligned; from 4 MiB on in huge pages where the system gives them on
/// request: one page fault and one address translation for 2 MiB instead of 512 (a product walks down a column of
/// weights, a page a row). No page is touched: on machines with several memories it lies near the thread that first
/// writes it. bad_alloc where there is none.
[[nodiscard]] void* allocate_array(std::size_t bytes);
/// Gives back what allocate_array(bytes) returned; null is allowed.
void free_array(void* data, std::size_t bytes) noexcept;

}  // namespace conclave
