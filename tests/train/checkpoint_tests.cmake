# SPDX-License-Identifier: BSD-3-Clause
conclave_test(train_hdf5 SOURCES hdf5_guard_test.cpp hdf5_test.cpp seal_test.cpp USES train hdf5::hdf5)
conclave_test(safetensors_test SOURCES safetensors_test.cpp USES train nlohmann_json::nlohmann_json)
conclave_test(folder_lock_test SOURCES folder_lock_test.cpp USES train)
conclave_mpi_test(train_checkpoint SOURCES async_checkpoint_test.cpp checkpoint_test.cpp checkpoint_refusal_test.cpp USES train)
