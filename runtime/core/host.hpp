// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <string>

namespace conclave {

/// The name of the node that this process runs on, "unknown" where the system does not tell.
[[nodiscard]] std::string host_name();

}  // namespace conclave
