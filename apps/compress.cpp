// SPDX-License-Identifier: BSD-3-Clause
// The command `compress`: a checkpoint with fewer experts, fewer weights, weights in fewer bytes, or a dense model that
// has learnt from it, and what that costs.
#include "apps/changed_model.hpp"
#include "apps/distil.hpp"
#include "apps/model_commands.hpp"
#include "apps/one_rank.hpp"
#include "apps/pruning.hpp"
#include "runtime/train/safetensors_model.hpp"

namespace conclave::apps {
namespace {

namespace fs = std::filesystem;
using train::WeightType;

enum class Quantise { no, bf16, int8 };

constexpr std::array<EnumName<Quantise>, 3> enum_names(Quantise) {
  return {{{Quantise::no, "no"}, {Quantise::bf16, "bf16"}, {Quantise::int8, "int8"}}};
}

enum class PruneBy { remove, merge };

constexpr std::array<EnumName<PruneBy>, 2> enum_names(PruneBy) {
  return {{{PruneBy::remove, "remove"}, {PruneBy::merge, "merge"}}};
}

struct CompressOptions {
  std::string checkpoint;
  std::string out;
  double prune_experts = 0.0;
  PruneBy prune_by = PruneBy::remove;
  double prune_weights = 0.0;
  Quantise quantise = Quantise::no;
  StudentOptions student;
  MeasureOptions measured;
};

void describe(CompressOptions& o, OptionSections& sections) {
  OptionTable& table = sections.section("Compression, in this order");
  table.add("checkpoint", o.checkpoint, "a checkpoint, or a folder of them: the newest");
  table.add(
      "out", o.out,
      "what to write: a folder for a checkpoint, or a file ending in .safetensors (without the optimizer's state), "
      "which evaluate and generate read as well; e.g. --checkpoint run --quantise int8 --out small.safetensors");
  table.add("prune_experts", o.prune_experts,
            "fewer experts in every MoE layer, by a part of them (below 1) or that many: those without which the loss "
            "rises least");
  table.add(
      "prune_by", o.prune_by,
      "what becomes of these: remove, or merge: each becomes part of the expert that is most alike (routing rows, "
      "then the loss with that one in its place), by how often they are chosen, hidden units matched");
  table.add("prune_weights", o.prune_weights,
            "set the smallest of each expert's weights to 0, that part of them (0 to 1); zeros are stored as other "
            "weights are");
  table.add("quantise", o.quantise,
            "store matrices, but those of routers, as bfloat16, or as integers of 8 bits with a scale for each output; "
            "they become float32 when they are loaded. Needs a .safetensors file");
  describe(o.student, sections);
  describe(o.measured, sections.section("Loss before and after"));
}

void validate(const CompressOptions& o) {
  if (!(o.prune_weights >= 0.0 && o.prune_weights < 1.0)) {
    throw InputError(fmt::format("prune_weights = {}", o.prune_weights), "give a part from 0 up to, but not, 1");
  }
  if (o.prune_experts == 0.0 && o.prune_weights == 0.0 && o.quantise == Quantise::no) {
    throw InputError("no compression is asked for", "give --prune-experts, --prune-weights, --quantise or --distil");
  }
  if (o.prune_by != PruneBy::remove && o.prune_experts == 0.0) {
    throw InputError(fmt::format("prune_by = {} without prune_experts", name_of(o.prune_by)),
                     "say how many: give --prune-experts too");
  }
  if (o.prune_experts != 0.0 && !o.measured.measure) {
    throw InputError("prune_experts without a measurement",
                     "experts are chosen by the loss without them: leave --no-measure out");
  }
  if (o.quantise != Quantise::no && !train::is_safetensors(o.out)) {
    throw InputError(fmt::format("quantise = {} with out = '{}'", name_of(o.quantise), o.out),
                     "a checkpoint has float32 only: name a file that ends in .safetensors");
  }
}

void validate_student(const CompressOptions& o) {
  if (o.prune_experts != 0.0 || o.prune_by != PruneBy::remove || o.prune_weights != 0.0) {
    throw InputError(
        fmt::format("distil with prune_experts = {}, prune_weights = {}", o.prune_experts, o.prune_weights),
        "a student has no experts to prune: leave these out");
  }
  if (o.quantise != Quantise::no || train::is_safetensors(o.out)) {
    throw InputError(fmt::format("distil with quantise = {}, out = '{}'", name_of(o.quantise), o.out),
                     "a student is trained into a folder; then compress it: --checkpoint THE_FOLDER --quantise int8 "
                     "--out FILE.safetensors");
  }
}

class Compression {
 public:
  Compression(const CompressOptions& o, const Session& session)
      : o_(o), session_(session), read_(read_checkpoint(session, o.checkpoint)) {
    if (!train::is_safetensors(o.out)) refuse_used_out(session, read_, o.out);
    add_row("before");
  }

  void prune_experts() {
    const Index count = pruned_experts(o_.prune_experts, read_.options.model);
    LoadedModel model = model_from(session_, read_.file, read_.contents);
    const std::vector<ExpertWorth> worth = worth_of_experts(model, o_.measured, session_);
    fmt::print("{}", text_of(worth));
    train::apply(pruned(model, worth, count), read_.contents);
    read_.options = changed_options(read_.contents);
    add_row(o_.prune_by == PruneBy::merge ? "merged" : "experts");
  }

  void prune_weights() {
    train::zero_smallest_weights(o_.prune_weights, read_.contents.tensors);
    add_row("weights");
  }

  void write() {
    if (!train::is_safetensors(o_.out)) {
      const fs::path file = write_changed(session_, read_, o_.out);
      fmt::print("wrote {}, {} bytes with the optimizer's state\n", file.string(), fs::file_size(file));
      return;
    }
    std::erase_if(read_.contents.tensors,
                  [](const auto& entry) { return !entry.first.starts_with(train::parameter_group); });
    const auto type = o_.quantise == Quantise::no     ? WeightType::f32
                      : o_.quantise == Quantise::bf16 ? WeightType::bf16
                                                      : WeightType::int8;
    train::write_safetensors_model(read_.contents, o_.out, type, 0);
    const auto bytes = static_cast<Index>(fs::file_size(o_.out));
    fmt::print("wrote {}, {} bytes\n", o_.out, bytes);
    if (o_.quantise == Quantise::no) return;
    read_.contents = train::read_safetensors_model(o_.out);  // what is evaluated is what was stored
    add_row(std::string(name_of(o_.quantise)));
    rows_.back().file_bytes = bytes;
  }

  [[nodiscard]] std::string table() const {
    return table_of(rows_, train::loss_unit(read_.options.task == train::Task::classify));
  }

 private:
  [[nodiscard]] train::ExpertEdit pruned(LoadedModel& model, const std::vector<ExpertWorth>& worth, Index count) const {
    const model::ModelOptions& options = read_.options.model;
    const train::ExpertsOfLayers least = least_worth(worth, count);
    if (o_.prune_by == PruneBy::remove) return train::remove_experts(options, least);
    const std::vector<Merger> mergers = mergers_of(model, least, o_.measured, session_);
    fmt::print("{}", text_of(mergers));
    return train::merge_experts(options, merged_origins(mergers, worth, options.num_moe_layers()));
  }
  void add_row(const std::string& name) { rows_.push_back(measured_row(name, read_, o_.measured, session_)); }

  const CompressOptions& o_;
  const Session& session_;
  ReadCheckpoint read_;
  std::vector<ModelRow> rows_;
};

int run(const CompressOptions& o, const Session& session) {
  if (o.out.empty()) throw InputError("nothing to write was named", "give --out a folder, or a file FILE.safetensors");
  refuse_without_distil(o.student, session);
  if (o.student.distil) {
    validate_student(o);
    return distil(o.checkpoint, o.out, o.student, o.measured, session);
  }
  require_one_rank(session, "compress");
  validate(o);
  Compression compression(o, session);
  if (o.prune_experts != 0.0) compression.prune_experts();
  if (o.prune_weights != 0.0) compression.prune_weights();
  compression.write();
  fmt::print("{}", compression.table());
  return 0;
}

}  // namespace

Command compress_command() {
  return make_command<CompressOptions>("compress",
                                       "a checkpoint with fewer experts or weights, in fewer bytes, or as a dense "
                                       "student",
                                       "", describe, run);
}

}  // namespace conclave::apps
