// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/core/error.hpp"

namespace conclave::detail {

void fail_invariant(const std::string& message, const std::source_location& where) {
  throw InvariantError(fmt::format("{} ({}:{})", message, where.file_name(), where.line()),
                       "this is a defect of Conclave: please report it with the command line and the run's record");
}

}  // namespace conclave::detail
