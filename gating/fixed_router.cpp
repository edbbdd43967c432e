// SPDX-License-Identifier: BSD-3-Clause
#include "gating/fixed_router.hpp"

namespace conclave::gating {

template <class T>
void FixedRouter<T>::settle(const RouterInput<T>& input, RouterTape<T>& tape) const {
  const auto decide = [&](std::vector<Assignment<T>>& kept, RoutingCounts& counts) {
    for (Index t = 0; t < input.x.rows; ++t) {
      const auto choices = tape.choices.row(t);
      const auto active =
          choices.size() - static_cast<std::size_t>(std::count(choices.begin(), choices.end(), no_expert));
      for (std::size_t j = 0; j < choices.size(); ++j) {
        if (choices[j] == no_expert) continue;
        const ExpertId expert{choices[j]};
        const auto choice = static_cast<Index>(j);
        ++counts.load[static_cast<std::size_t>(choices[j])];
        if (tape.serving(t, choice) == no_expert) {
          counts.drops.push_back({t, choice, expert, DropReason::over_capacity});
        } else {
          kept.push_back({t, expert, choice, T{1} / static_cast<T>(active)});
        }
      }
    }
  };
  tape.routing.assign(input.x.rows, this->options().experts, decide);
  tape.balance.clear(this->options().experts);
}

template class FixedRouter<float>;
template class FixedRouter<double>;

}  // namespace conclave::gating
