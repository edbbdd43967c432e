// SPDX-License-Identifier: BSD-3-Clause
// Slots of experts over the whole step, instead of in each group.
#pragma once

#include "gating/router.hpp"
#include "runtime/model/step.hpp"

#include <memory>
#include <vector>

namespace conclave::model {

/// Serves the claims that router.choose() left in this rank's tapes, one a local group, in competition with those of
/// all ranks: fills their `serving`. Every rank is told all claims (4 bytes each, and the key, where the priority looks
/// at one) and comes to the same end, so that nothing depends on who holds which groups. The step must have all its
/// groups in this pass. Collective.
template <class T>
void serve_over_step(const comm::Communicator& communicator, const Step& step, const gating::Router<T>& router,
                     const std::vector<std::unique_ptr<gating::RouterTape<T>>>& tapes);

}  // namespace conclave::model
