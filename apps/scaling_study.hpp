// SPDX-License-Identifier: BSD-3-Clause
// The points of a study of scaling, in a file that has each as soon as it is measured, so that a study that is cut off
// goes on with what is missing.
#pragma once

#include "apps/bench_report.hpp"
#include "comm/mpi/communicator.hpp"
#include "runtime/core/options.hpp"
#include "runtime/train/line_file.hpp"

#include <array>
#include <compare>
#include <memory>
#include <optional>
#include <set>

namespace conclave::apps {

/// As many tokens in all, or as many a rank.
enum class ScalingKind { strong, weak };

inline constexpr std::array<EnumName<ScalingKind>, 2> enum_names(ScalingKind) {
  return {{{ScalingKind::strong, "strong"}, {ScalingKind::weak, "weak"}}};
}

/// What a point stands for.
struct ScalingPlace {
  ScalingKind kind = ScalingKind::strong;
  Index ranks = 1;
  friend auto operator<=>(const ScalingPlace&, const ScalingPlace&) = default;
};

/// "strong, 4 ranks".
[[nodiscard]] std::string text_of(const ScalingPlace& place);

struct ScalingPoint {
  ScalingPlace place;
  Index tokens = 0;
  Timings layer{};
  Timings bare{};  // the experts' products alone
};

/// The points that the text of a file of points holds, in its order; what else it holds is passed over, as is a last
/// line that was not finished. `path` is for messages. InputError if it is no such file.
[[nodiscard]] std::vector<ScalingPoint> points_in(const std::string& path, const std::string& text);

/// The points of a study. All ranks know which there are; their times are the root's.
class ScalingStudy {
 public:
  /// Reads the points that the file has and adds to it from then on; an empty path keeps them in memory alone.
  /// `settings`: the object of all that points must have in common to be compared. InputError on every rank if the file
  /// cannot be used, is none of points, or has those of other settings. Collective.
  ScalingStudy(const std::string& path, const Json& settings, const comm::Communicator& world);

  /// Those of `places` without a point: first those that no start of a program has tried yet, so that one that always
  /// fails keeps no other from being measured.
  [[nodiscard]] std::vector<ScalingPlace> missing(const std::vector<ScalingPlace>& places) const;
  /// Those of `places` that have one, in their order.
  [[nodiscard]] std::vector<ScalingPoint> points(const std::vector<ScalingPlace>& places) const;

  /// Notes that a point is being measured, and what it came to. InputError on every rank if the file cannot be written.
  /// Collective.
  void begin(const ScalingPlace& place);
  void add(const ScalingPoint& point);

 private:
  void read(const std::string& path, const std::string& text, const Json& settings);
  void append(const Json& line);

  const comm::Communicator& world_;
  std::unique_ptr<train::LineFile> file_;  // the root's, if there is one
  std::vector<ScalingPoint> points_;
  std::set<ScalingPlace> tried_;
};

}  // namespace conclave::apps
