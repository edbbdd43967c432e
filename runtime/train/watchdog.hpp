// SPDX-License-Identifier: BSD-3-Clause
// Ends a run whose ranks wait for one that does not come, and says which.
#pragma once

#include "comm/mpi/communicator.hpp"
#include "comm/mpi/shared_window.hpp"
#include "runtime/core/stage_watch.hpp"
#include "runtime/train/hang_report.hpp"

#include <condition_variable>
#include <filesystem>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

namespace conclave::train {

/// While it lives, a thread of each rank looks at the whereabouts of the ranks of its node, which stand in memory that
/// they share; it never calls MPI. When this rank has not moved for hang_timeout seconds, or a process of the node has
/// gone, the first thread of the node to see it says so on stderr, writes the whereabouts of all the node's ranks to
/// FOLDER/hang-HOST-RANK.txt (RANK: the node's first), and ends its process, upon which the launcher ends the others;
/// should it not, they follow by themselves. A node that waits for another writes its file, leaves that one the time to
/// speak, and then reads what other nodes have written. Time in which the thread itself did not run (a suspended job)
/// is not counted.
class Watchdog {
 public:
  struct Settings {
    double hang_timeout_s = 0.0;  // 0: a hang is not looked for
    std::filesystem::path folder;
    std::string who;  // who speaks: "conclave train"
    int exit_code = 1;
  };
  /// Collective over `world`, which must outlive the object.
  Watchdog(const comm::Communicator& world, Settings settings);
  /// Collective, unless an exception is unwinding: then the others are left to see that this rank has gone.
  ~Watchdog();
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

  /// This rank's own, for its main thread to write.
  [[nodiscard]] Whereabouts& whereabouts() { return page(own_).whereabouts; }
  /// Another timeout and folder, once they are known.
  void settle(double hang_timeout_s, const std::filesystem::path& folder);
  /// What remains if the run ends now.
  void saved(const std::filesystem::path& checkpoint);

 private:
  struct Page {
    Whereabouts whereabouts;
    std::atomic<Index> process{0};
    std::atomic<bool> has_left{false};
    std::atomic<bool> is_reported{false};  // the first rank's: somebody of the node has spoken
    std::atomic<bool> is_told{false};      // the first rank's: somebody has written for other nodes
  };
  [[nodiscard]] Page& page(Index mate) const { return *reinterpret_cast<Page*>(window_.segment(mate)); }
  void watch();
  [[nodiscard]] bool sleep_for(double seconds);
  [[nodiscard]] Settings settings();
  [[nodiscard]] std::vector<WatchedRank> look_at_node() const;
  [[nodiscard]] std::string gone_mate() const;
  void end_job(const std::vector<std::string>& report);
  void tell_other_nodes();
  [[nodiscard]] std::vector<ToldRank> told_by_other_nodes();
  [[nodiscard]] std::filesystem::path state_file();
  void write_state(const std::string& first_line);

  std::optional<StageWatch> parting_;  // the first: it watches the others end
  Settings settings_;                  // under mutex_
  comm::Communicator node_;
  std::vector<RankId> mates_;  // [ranks of the node]
  Index num_ranks_;
  Index own_;
  std::string start_;  // of this program on these ranks: what others have left in the folder is not of this one
  comm::SharedWindow window_;
  bool sees_processes_ = false;  // of its mates
  int uncaught_at_start_;

  std::mutex mutex_;
  std::condition_variable wake_;
  bool ends_ = false;
  std::string remains_;
  std::thread thread_;  // the last: it uses all the others
};

}  // namespace conclave::train
