// SPDX-License-Identifier: BSD-3-Clause
// One of the inputs under libFuzzer, which looks for bytes that reach new code. CONCLAVE_FUZZ_INPUT names it.
#include "tests/fuzz/inputs.hpp"

#include "runtime/core/error.hpp"

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const conclave::fuzz::Input* const input = [] {
    for (const conclave::fuzz::Input& each : conclave::fuzz::inputs()) {
      if (each.name == CONCLAVE_FUZZ_INPUT) return &each;
    }
    std::abort();
  }();
  try {
    input->read({reinterpret_cast<const char*>(data), size});
  } catch (const conclave::InputError&) {
  }
  return 0;
}
