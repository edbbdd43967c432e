// SPDX-License-Identifier: BSD-3-Clause
// Loops that do one thing as fast as a core or its memory can: what measurements are held against. Each runs on the
// calling thread.
#pragma once

#include "runtime/core/ids.hpp"

#include <span>

namespace conclave::apps {

/// `flops` floating-point operations, two a fused multiply-add, in registers: as many independent chains as hide the
/// latency of two units.
void fma_loop(double flops);

/// Moves 4 bytes an element.
void read_all(std::span<const float> a);
/// 4 bytes an element, in plain stores: where the CPU fetches a line before it overwrites it, that comes on top.
void write_all(std::span<float> a, float value);
/// a = b. 8 bytes an element; the library's memcpy, which goes around the cache.
void copy_all(std::span<const float> b, std::span<float> a);
/// a = b + s c. 12 bytes an element, in plain stores (STREAM's triad, McCalpin 1995).
void triad(std::span<const float> b, float s, std::span<const float> c, std::span<float> a);

/// Bytes of the largest cache, or 32 MiB where the system does not say.
[[nodiscard]] Index last_level_cache_bytes();

}  // namespace conclave::apps
