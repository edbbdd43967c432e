// SPDX-License-Identifier: BSD-3-Clause
// Errors carry two sentences: what is wrong, with the values, and what to do about it.
// Three tiers: InputError (the user can mend it), InvariantError (a defect of the program, always checked), and
// debug_check (checked in debug and sanitizer builds, for inner loops).
#pragma once

#include <fmt/core.h>

#include <source_location>
#include <stdexcept>
#include <string>
#include <utility>

namespace conclave {

/// Any error that Conclave raises itself. `what()` names the values, `hint()` the remedy (may be empty).
class Error : public std::runtime_error {
 public:
  explicit Error(const std::string& message, std::string hint = {})
      : std::runtime_error(message), hint_(std::move(hint)) {}
  [[nodiscard]] const std::string& hint() const noexcept { return hint_; }

 private:
  std::string hint_;
};

/// Bad input: a flag, a file, a damaged checkpoint, a full disk. The hint says how to mend it.
class InputError : public Error {
 public:
  using Error::Error;
};

/// A defect of Conclave itself.
class InvariantError : public Error {
 public:
  using Error::Error;
};

namespace detail {
/// A format string that remembers where it was written.
template <class... Args>
struct LocatedFormat {
  fmt::format_string<Args...> text;
  std::source_location where;
  template <class Text>
  consteval LocatedFormat(  // NOLINT(google-explicit-constructor): implicit, as fmt::format_string is
      const Text& format, std::source_location location = std::source_location::current())
      : text(format), where(location) {}
};

[[noreturn]] void fail_invariant(const std::string& message, const std::source_location& where);
}  // namespace detail

/// Throws InvariantError with the formatted message unless `holds`. Always on.
template <class... Args>
void invariant(bool holds, detail::LocatedFormat<std::type_identity_t<Args>...> format, Args&&... args) {
  if (!holds) [[unlikely]] {
    detail::fail_invariant(fmt::format(format.text, std::forward<Args>(args)...), format.where);
  }
}

/// As invariant, but compiled out of release builds: for checks inside hot loops.
template <class... Args>
void debug_check([[maybe_unused]] bool holds,
                 [[maybe_unused]] detail::LocatedFormat<std::type_identity_t<Args>...> format,
                 [[maybe_unused]] Args&&... args) {
#ifndef NDEBUG
  if (!holds) detail::fail_invariant(fmt::format(format.text, std::forward<Args>(args)...), format.where);
#endif
}

}  // namespace conclave
