// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/model/step_capacity.hpp"

#include "runtime/core/scratch.hpp"

namespace conclave::model {
namespace {

/// The claims of some tokens, k choices each.
template <class T>
struct ClaimRows {
  ClaimRows(Index tokens, Index columns, bool has_keys, Scratch& scratch)
      : choices(scratch.matrix<std::int32_t>(tokens, columns, gating::no_expert)),
        key(scratch.matrix<T>(has_keys ? tokens : 0, columns, T{0})) {}
  MatrixView<std::int32_t> choices;  // [tokens, k] experts; no_expert where nothing is asked for
  MatrixView<T> key;                 // [tokens, k], or no rows: served by position
};

// This rank's, with columns for the token with the most choices on any rank.
template <class T>
ClaimRows<T> local_claims(const comm::Communicator& communicator, const Step& step, bool has_keys,
                          const std::vector<std::unique_ptr<gating::RouterTape<T>>>& tapes, Scratch& scratch) {
  const GroupRows& groups = step.groups;
  Index columns = 0;
  for (Index g = 0; g < groups.num_groups; ++g) {
    columns = std::max(columns, tapes[static_cast<std::size_t>(g)]->choices.cols());
  }
  {
    const PhaseScope scope(*step.times, Phase::wait, "claims");
    columns = communicator.max(columns);
  }
  const ClaimRows<T> rows(groups.total_rows(), columns, has_keys, scratch);
  for (Index g = 0; g < groups.num_groups; ++g) {
    const gating::RouterTape<T>& tape = *tapes[static_cast<std::size_t>(g)];
    for (Index t = 0; t < groups.rows; ++t) {
      const Index row = groups.of(g).begin + t;
      for (Index j = 0; j < tape.choices.cols(); ++j) {
        const bool is_refused = tape.refused.rows() > 0 && tape.refused(t, j) != 0;
        if (!is_refused) rows.choices(row, j) = tape.choices(t, j);
        if (has_keys) rows.key(row, j) = tape.key(t, j);
      }
    }
  }
  return rows;
}

}  // namespace

template <class T>
void serve_over_step(const comm::Communicator& communicator, const Step& step, const gating::Router<T>& router,
                     const std::vector<std::unique_ptr<gating::RouterTape<T>>>& tapes) {
  invariant(step.num_groups == step.num_groups_in_pass, "slots over a step of {} groups, of which a pass shows {}",
            step.num_groups, step.num_groups_in_pass);
  const Index num_tokens = step.num_groups * step.groups.rows;
  const gating::CapacityRule rule = router.capacity_rule(step.training, num_tokens);
  const bool has_keys = rule.priority != gating::Priority::position;
  Scratch scratch;
  const ClaimRows<T> mine = local_claims(communicator, step, has_keys, tapes, scratch);
  const Index columns = mine.choices.cols;
  // Ranks hold runs of groups in their order, so what they say one after another is the step in global token order.
  const ClaimRows<T> all(num_tokens, columns, has_keys, scratch);
  {
    const PhaseScope scope(*step.times, Phase::wait, "claims");
    communicator.gather_all<std::int32_t>(mine.choices.flat(), all.choices.flat());
    communicator.gather_all<T>(mine.key.flat(), all.key.flat());
  }
  const MatrixView<std::int32_t> serving = scratch.matrix<std::int32_t>(num_tokens, columns);
  if (columns > 0) gating::serve_claims<T>({all.choices, all.key, {}, {}}, rule, serving);
  for (Index g = 0; g < step.groups.num_groups; ++g) {
    gating::RouterTape<T>& tape = *tapes[static_cast<std::size_t>(g)];
    tape.serving.resize(tape.choices.rows(), tape.choices.cols());
    for (Index t = 0; t < tape.serving.rows(); ++t) {
      std::copy_n(serving.row(step.first_token(g).value() + t).data(), tape.serving.cols(), tape.serving.row(t).data());
    }
  }
}

template void serve_over_step(const comm::Communicator&, const Step&, const gating::Router<float>&,
                              const std::vector<std::unique_ptr<gating::RouterTape<float>>>&);
template void serve_over_step(const comm::Communicator&, const Step&, const gating::Router<double>&,
                              const std::vector<std::unique_ptr<gating::RouterTape<double>>>&);

}  // namespace conclave::model
