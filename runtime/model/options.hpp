// SPDX-License-Identifier: BSD-3-Clause
// What a model can be asked to be.
#pragma once

#include "experts/options.hpp"
#include "gating/options.hpp"
#include "runtime/model/moe_layer.hpp"

namespace conclave::model {

/// What a model is for, and what it is given: text to go on with, or texts or vectors of features to tell the class of.
enum class ModelKind { language, text_classifier, feature_classifier };

struct ModelOptions {
  Index layers = 4;
  Index width = 128;
  Index heads = 4;
  Index context = 64;
  Index moe_every = 1;
  experts::ExpertKind dense_kind = experts::ExpertKind::gelu;
  Index dense_hidden = 512;
  bool tied_head = false;
  bool input_map = true;
  bool residual = true;
  Fusion fusion = Fusion::weighted;
  gating::RouterOptions router;
  experts::ExpertOptions experts;

  /// Whether block `b`'s feed-forward is an MoE layer: every moe_every-th is (GShard: 2), none if moe_every is 0.
  [[nodiscard]] bool is_moe(Index block) const { return moe_every > 0 && (block + 1) % moe_every == 0; }
  [[nodiscard]] Index num_moe_layers() const { return moe_every > 0 ? layers / moe_every : 0; }
  /// [layers] is_moe of each block.
  [[nodiscard]] std::vector<bool> moe_blocks() const;
};

void describe(ModelOptions& options, OptionTable& table);

/// InputError, with the values and the remedy, for every combination that no model can be built from.
void validate(const ModelOptions& options, ModelKind kind = ModelKind::language);

/// The shape of block `block`'s MoE layer: experts vote in the last one only. Residual branches are 2 layers deep each,
/// so output matrices begin smaller by 1/sqrt(2 layers) (Radford et al. 2019).
[[nodiscard]] MoeShape moe_shape(const ModelOptions& options, Index block);
[[nodiscard]] double residual_scale(const ModelOptions& options);

}  // namespace conclave::model
