# SPDX-License-Identifier: BSD-3-Clause
# What the project stands on, and why. Every one is a Debian package; packages.txt lists them for the installer.
find_package(OpenMP REQUIRED COMPONENTS CXX)  # threads share out whole GEMM calls
find_package(fmt REQUIRED)                    # text: GCC 12 has no <format>
find_package(xsimd REQUIRED)                  # vectorised exp, erf, tanh
find_package(nlohmann_json REQUIRED)          # metrics and reports as JSON

# Any CBLAS computes; OpenBLAS can also say which kernels it chose, and be told to choose better.
find_package(PkgConfig REQUIRED)
pkg_check_modules(OpenBLAS IMPORTED_TARGET openblas)
if(OpenBLAS_FOUND)
  set(CONCLAVE_BLAS PkgConfig::OpenBLAS)
else()
  find_package(BLAS REQUIRED)
  set(CONCLAVE_BLAS BLAS::BLAS)
endif()

# A faster sgemm than most BLAS libraries have, and with kernels for CPUs that they do not know. Optional.
find_package(dnnl CONFIG QUIET)
if(NOT dnnl_FOUND)
  message(STATUS "oneDNN was not found (Debian: libdnnl-dev): matrix products run in BLAS only")
endif()

# Counter-based random numbers; headers only.
find_path(RANDOM123_INCLUDE_DIR Random123/philox.h REQUIRED)
# Fast 64-bit hashes for digests of results.
find_path(XXHASH_INCLUDE_DIR xxhash.h REQUIRED)

find_package(MPI REQUIRED COMPONENTS C CXX)

# Checkpoints and run records, written by all ranks together.
set(HDF5_PREFER_PARALLEL TRUE)
find_package(HDF5 REQUIRED COMPONENTS C)
if(NOT HDF5_IS_PARALLEL)
  message(FATAL_ERROR "The HDF5 found (${HDF5_INCLUDE_DIRS}) has no MPI support. "
                      "Install the parallel build (Debian: libhdf5-openmpi-dev) or load its module, "
                      "or point HDF5_ROOT at it.")
endif()

find_package(Boost REQUIRED COMPONENTS program_options)  # command line and configuration files

if(CONCLAVE_TESTS)
  find_package(GTest REQUIRED)
  find_path(GMOCK_INCLUDE_DIR gmock/gmock.h REQUIRED)  # a package of its own in Debian, which GTest does not ask for
  # A simulator that others wrote, as a referee of ours. Optional: its answers are checked in.
  pkg_check_modules(SimGrid QUIET IMPORTED_TARGET simgrid)
endif()
