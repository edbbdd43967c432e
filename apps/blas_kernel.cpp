// SPDX-License-Identifier: BSD-3-Clause
#include "apps/blas_kernel.hpp"

#include "apps/launch.hpp"
#include "apps/stop_signal.hpp"
#include "runtime/core/cpu.hpp"
#include "runtime/core/gemm.hpp"

#include <unistd.h>

#include <cstdlib>

namespace conclave::apps {
namespace {

constexpr const char* core_type_variable = "OPENBLAS_CORETYPE";
constexpr const char* guard_variable = "CONCLAVE_REEXECUTED_FOR_BLAS";

}  // namespace

BlasChoice choose_blas_kernel(const BlasFacts& facts) {
  BlasChoice choice{facts.loaded, facts.better, facts.core_type.value_or(""), false, facts.reexecuted.has_value(), ""};
  choice.asked_by_user = facts.core_type && facts.core_type != facts.reexecuted;
  if (choice.asked_by_user) {
    choice.why = fmt::format("{}={} was set by the user", core_type_variable, *facts.core_type);
    if (facts.better) choice.why += fmt::format("; {} would fit this CPU better", *facts.better);
  } else if (facts.loaded == "unknown") {
    choice.why = "this BLAS library does not tell which kernels it uses";
  } else if (facts.reexecuted) {
    choice.why = facts.better
                     ? fmt::format("{} was asked for; {} would fit this CPU better", choice.asked, *facts.better)
                     : fmt::format("the library's own choice fits this CPU badly, so {} was asked for", choice.asked);
  } else {
    choice.why = facts.better ? fmt::format("the library's own choice; {} would fit this CPU better", *facts.better)
                              : "the library's own choice, which fits this CPU";
  }
  return choice;
}

bool must_reexecute(const BlasChoice& choice) { return choice.better && !choice.asked_by_user && !choice.reexecuted; }

BlasChoice settle_blas_kernel(char** argv) {
  const std::string loaded = blas_kernel();
  BlasChoice choice = choose_blas_kernel({loaded, better_blas_kernel(loaded), environment_variable(core_type_variable),
                                          environment_variable(guard_variable)});
  unsetenv(guard_variable);  // it speaks of this process, not of those that it may start
  if (!must_reexecute(choice)) return choice;
  constexpr int replace = 1;
  setenv(core_type_variable, choice.better->c_str(), replace);
  setenv(guard_variable, choice.better->c_str(), replace);
  hand_on_stop_signals();
  execv("/proc/self/exe", argv);
  take_back_stop_signals();
  // Still here: no /proc, or no right to execute. Slower, but right.
  choice.why += "; starting again with it failed";
  return choice;
}

}  // namespace conclave::apps
