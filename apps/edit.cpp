// SPDX-License-Identifier: BSD-3-Clause
// The command `edit`: a checkpoint with more, fewer, narrower or merged experts, to go on training from.
#include "apps/changed_model.hpp"
#include "apps/expert_words.hpp"
#include "apps/model_commands.hpp"
#include "apps/one_rank.hpp"
#include "runtime/train/expert_edit.hpp"

namespace conclave::apps {
namespace {

struct EditOptions {
  std::string checkpoint;
  std::string out;
  Index split_experts = 1;
  Index add_experts = 0;
  std::vector<std::string> copy;
  double new_logit = -20.0;
  std::vector<std::string> merge;
  std::vector<std::string> remove;
  MeasureOptions measured;
};

void describe(EditOptions& o, OptionSections& sections) {
  OptionTable& table = sections.section("Edit");
  table.add("checkpoint", o.checkpoint, "a checkpoint, or a folder of them: the newest");
  table.add("out", o.out,
            "the folder to write the edited checkpoint into; go on with train --resume FOLDER; e.g. --checkpoint run "
            "--split-experts 2 --out finer");
  table.add("split_experts", o.split_experts,
            "cut every expert into that many narrower ones, of which a token chooses as many times more (top_k grows): "
            "the model computes what it did");
  table.add("add_experts", o.add_experts, "that many more experts in every MoE layer, each a copy of one");
  table.add("copy", o.copy,
            "add_experts: of which, as LAYER:EXPERT (MoE layers count from 0), or EXPERT in every layer, with commas; "
            "empty: of the first ones in turn");
  table.add("new_logit", o.new_logit,
            "add_experts: is added to the new experts' logits; at -20 none is chosen at first, and the model computes "
            "what it did; at 0 a copy competes with what it is one of");
  table.add("merge", o.merge,
            "average pairs of experts, hidden units matched: LAYER:A+B, or A+B in every layer, with commas");
  table.add("remove", o.remove, "remove experts: LAYER:EXPERT, or EXPERT in every layer, with commas");
  describe(o.measured, sections.section("Loss before and after"));
}

// One edit a call: several are several calls.
train::ExpertEdit plan_of(const EditOptions& o, const model::ModelOptions& model) {
  const int asked = (o.split_experts != 1 ? 1 : 0) + (o.add_experts != 0 ? 1 : 0) + (o.merge.empty() ? 0 : 1) +
                    (o.remove.empty() ? 0 : 1);
  if (asked != 1) {
    throw InputError(fmt::format("{} edits are asked for", asked),
                     "give one of --split-experts, --add-experts, --merge and --remove; others in further calls");
  }
  if (o.add_experts == 0 && !o.copy.empty()) {
    throw InputError("copy without add_experts", "it says of which experts there are to be more: give --add-experts");
  }
  const Index layers = model.num_moe_layers();
  if (o.split_experts != 1) return train::cut_experts(model, o.split_experts);
  if (!o.merge.empty()) return train::merge_experts(model, experts_named("merge", o.merge, layers, 2));
  if (!o.remove.empty()) return train::remove_experts(model, experts_named("remove", o.remove, layers, 1));
  if (o.add_experts < 0) throw InputError(fmt::format("add_experts = {}", o.add_experts), "give 1 or more");
  std::vector<std::string> copy = o.copy;
  for (Index e = 0; o.copy.empty() && e < o.add_experts; ++e) {
    copy.push_back(fmt::format("{}", e % model.router.experts));
  }
  const train::ExpertsOfLayers copied = experts_named("copy", copy, layers, 1);
  if (!copied.empty() && std::ssize(copied.front()) != o.add_experts) {
    throw InputError(fmt::format("add_experts = {} with copies of {} a layer", o.add_experts, copied.front().size()),
                     "name as many in each layer as are to be added");
  }
  return train::add_experts(model, copied, o.new_logit);
}

int run(const EditOptions& o, const Session& session) {
  require_one_rank(session, "edit");
  if (o.out.empty()) throw InputError("no folder was named", "give --out a folder for the edited checkpoint");
  ReadCheckpoint read = read_checkpoint(session, o.checkpoint);
  const model::ModelOptions before = read.options.model;
  const train::ExpertEdit edit = plan_of(o, before);
  refuse_used_out(session, read, o.out);
  std::vector<ModelRow> rows{measured_row("before", read, o.measured, session)};
  train::apply(edit, read.contents);
  read.options = changed_options(read.contents);
  const model::ModelOptions& after = read.options.model;
  rows.push_back(measured_row("after", read, o.measured, session));
  const auto file = write_changed(session, read, o.out);
  fmt::print("wrote {}: {} experts a layer, of which a token chooses {} (before: {} and {})\n", file.string(),
             after.router.experts, after.router.top_k, before.router.experts, before.router.top_k);
  const std::vector<std::string> changes = train::changes_of(edit, before);
  if (changes.empty()) fmt::print("  it computes what the model did, to rounding\n");
  for (const std::string& change : changes) fmt::print("  it computes something else: {}\n", change);
  fmt::print("{}", table_of(rows, train::loss_unit(read.options.task == train::Task::classify)));
  return 0;
}

}  // namespace

Command edit_command() {
  return make_command<EditOptions>("edit", "a checkpoint with more, fewer, narrower or merged experts", "", describe,
                                   run);
}

}  // namespace conclave::apps
