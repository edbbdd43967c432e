// SPDX-License-Identifier: BSD-3-Clause
#pragma once

/// Skips the rest of a test about memory where the address sanitizer keeps more beside it than is measured: shadow
/// memory of terabytes of address space, red zones, and what was freed.
#ifdef __SANITIZE_ADDRESS__
#define SKIP_UNDER_ADDRESS_SANITIZER() GTEST_SKIP() << "the address sanitizer needs memory of its own"
#else
#define SKIP_UNDER_ADDRESS_SANITIZER() static_cast<void>(0)
#endif
