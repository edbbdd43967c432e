// SPDX-License-Identifier: BSD-3-Clause
// The options of a command: several modules' tables under titles.
#pragma once

#include "runtime/core/options.hpp"

#include <deque>

namespace conclave::apps {

/// A titled part of a command's options, usually one module's.
struct OptionSection {
  std::string title;
  OptionTable table;
};

/// All options of a command, in titled sections. A name stands once over all sections. Refers to the described
/// members, as its tables do.
class OptionSections {
 public:
  /// A new, empty section; the reference stays good while the sections live.
  OptionTable& section(std::string title);

  [[nodiscard]] const std::deque<OptionSection>& sections() const { return sections_; }
  /// All options, in order. InvariantError if two sections describe one name.
  [[nodiscard]] std::vector<const Option*> all() const;
  [[nodiscard]] const Option* find(std::string_view name) const;
  /// Up to three known names nearest to `name`.
  [[nodiscard]] std::vector<std::string> nearest(std::string_view name) const;

 private:
  std::deque<OptionSection> sections_;
};

}  // namespace conclave::apps
