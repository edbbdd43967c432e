// SPDX-License-Identifier: BSD-3-Clause
// Preloaded, it makes OpenBLAS say that it took this CPU for an old one, unless OPENBLAS_CORETYPE names another.
#include <cstdlib>

extern "C" {

char* openblas_get_corename() {
  static char old_kernel[] = "Prescott";
  char* asked = std::getenv("OPENBLAS_CORETYPE");
  return asked == nullptr ? old_kernel : asked;
}

}  // extern "C"
