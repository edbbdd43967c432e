// SPDX-License-Identifier: BSD-3-Clause
#include "apps/run_folder.hpp"

#include "runtime/train/agreed.hpp"
#include "runtime/train/checkpoint_folder.hpp"
#include "runtime/train/disk_file.hpp"

namespace conclave::apps {

void refuse_used_folder(const comm::Communicator& world, const train::TrainOptions& options,
                        const std::optional<OpenedCheckpoint>& from) {
  const train::FoundCheckpoint found = train::newest_checkpoint(world, options.out);
  if (found.file.empty() && found.passed_over.empty()) return;
  bool goes_on = false;
  train::on_root(world, [&] { goes_on = from && std::filesystem::equivalent(found.file, from->file); });
  if (world.any(goes_on)) return;
  if (from && !found.file.empty() && std::filesystem::path(options.out) == train::folder_of(from->file)) {
    throw InputError(fmt::format("'{}' holds a newer checkpoint than {}: {}", options.out, from->file.string(),
                                 found.file.filename().string()),
                     "to go on from the earlier one name another folder with --out, so that the newer one is not lost");
  }
  throw InputError(fmt::format("'{}' already holds checkpoints of a run", options.out),
                   fmt::format("continue it with --resume {}, or name another folder with --out", options.out));
}

void take_if_there(const comm::Communicator& world, train::FolderLock& lock, const std::filesystem::path& folder) {
  train::on_root(world, [&] {
    if (std::filesystem::exists(folder)) lock.take(folder);
  });
}

void write_configuration(const comm::Communicator& world, const train::TrainOptions& options) {
  train::on_root(world, [&] {
    const std::filesystem::path path = std::filesystem::path(options.out) / "config.ini";
    std::error_code failed;
    std::filesystem::create_directories(options.out, failed);
    const train::Failure failure =
        train::failure_of([&] { train::replace_file(path, training_configuration(options)); });
    if (!failure.message.empty()) throw InputError(failure.message, "check the folder's rights and free space");
  });
}

std::optional<OpenedCheckpoint> last_checkpoint(const comm::Communicator& world, const train::TrainOptions& options,
                                                const std::function<void(const std::string&)>& tell) {
  const train::FoundCheckpoint found = train::newest_checkpoint(world, options.out);
  for (const std::string& reason : found.passed_over) tell(fmt::format("passed over: {}", reason));
  if (found.file.empty()) return {};
  return OpenedCheckpoint{found.file, train::read_header(world, found.file)};
}

}  // namespace conclave::apps
