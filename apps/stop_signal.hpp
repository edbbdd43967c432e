// SPDX-License-Identifier: BSD-3-Clause
// Signals that ask a run to end, kept until the run looks.
#pragma once

#include <string>

namespace conclave::apps {

/// To be called as early as a program can: until then they end it. From now on SIGTERM, SIGINT, SIGUSR1 and SIGUSR2 no
/// longer end this process; stop_signal() tells of them. A second SIGINT ends it at once. They are let through where a
/// launcher had blocked them, and calls of the system that they interrupt go on by themselves. A SIGINT that this
/// process was started to ignore, as shells start what runs in the background, stays ignored. Until the process fails,
/// and not only while it trains: a launcher that sees one rank end sends SIGTERM to the others, which shall still end
/// by themselves. Threads of this program are not interrupted by them, but for one that waits for them: call it from
/// the first thread, before there are others.
void keep_stop_signals();

/// For a process that is about to become another program by exec: a signal that comes meanwhile, or that was kept,
/// waits for that program to keep signals. Nothing where this process does not keep any.
void hand_on_stop_signals();
/// Where that exec has failed.
void take_back_stop_signals();

/// For a process that has failed and will look at no signal any more: they end it again, as those that a launcher sends
/// once another rank has failed too.
void obey_stop_signals();

/// The first of these signals that came, 0 if none has.
[[nodiscard]] int stop_signal();

/// "SIGUSR1". InvariantError if it is none of them.
[[nodiscard]] std::string stop_signal_name(int signal);

}  // namespace conclave::apps
