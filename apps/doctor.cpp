// SPDX-License-Identifier: BSD-3-Clause
// The command `doctor`: what is wrong with this installation, and what to do about it.
#include "apps/doctor.hpp"

#include "apps/option_text.hpp"
#include "apps/progress.hpp"

#include <algorithm>

namespace conclave::apps {
namespace {

struct DoctorOptions {};

void describe(DoctorOptions&, OptionSections&) {}

std::string report(const std::vector<Finding>& findings) {
  constexpr Index column = 24;
  const Index width = terminal_width(stdout);
  std::string out;
  for (const Finding& finding : findings) {
    out += fmt::format("{:<6}{:<{}}{}\n", name_of(finding.verdict), finding.subject, column - 6,
                       wrapped(finding.text, column, width));
    if (!finding.remedy.empty())
      out += fmt::format("{:{}}-> {}\n", "", column, wrapped(finding.remedy, column + 3, width));
  }
  return out;
}

int run(const DoctorOptions&, const Session& session) {
  std::vector<Finding> findings = examine_machine(session);
  std::vector<Finding> job = examine_job(session);
  std::move(job.begin(), job.end(), std::back_inserter(findings));
  const auto count = [&](Verdict verdict) {
    return std::count_if(findings.begin(), findings.end(), [&](const Finding& f) { return f.verdict == verdict; });
  };
  const auto num_failed = count(Verdict::fail);
  if (session.world.is_root()) {
    fmt::print("{}\n{} checked, {} to look at, {} failed\n", report(findings), findings.size(), count(Verdict::warn),
               num_failed);
  }
  return num_failed == 0 ? 0 : 1;
}

}  // namespace

Command doctor_command() {
  return make_command<DoctorOptions>("doctor", "what is wrong with this installation, and what to do about it", "",
                                     describe, run);
}

}  // namespace conclave::apps
