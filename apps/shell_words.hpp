// SPDX-License-Identifier: BSD-3-Clause
// Words as others read them: a shell, and sbatch in the lines of a job file that are meant for it.
#pragma once

#include <string>
#include <string_view>

namespace conclave::apps {

/// The word as bash reads it back, whatever it holds, in one line: as it is where nothing in it means anything, else in
/// quotes. InvariantError for a NUL, which no word can have.
[[nodiscard]] std::string shell_quoted(std::string_view word);

/// A value in a line `#SBATCH --name=value`. InputError, naming `name`, for a line break or another control character,
/// which sbatch cannot read there.
[[nodiscard]] std::string sbatch_quoted(std::string_view name, std::string_view value);

}  // namespace conclave::apps
