# SPDX-License-Identifier: BSD-3-Clause
# Tests of the run's log.
conclave_test(train_run_log SOURCES run_log_test.cpp run_log_kill_test.cpp USES train hdf5::hdf5)
