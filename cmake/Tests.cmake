# SPDX-License-Identifier: BSD-3-Clause

# Sanitizer builds run several times slower.
if(CONCLAVE_SANITIZE OR CMAKE_BUILD_TYPE STREQUAL "Debug")
  set(CONCLAVE_TEST_TIMEOUT_S 600)
else()
  set(CONCLAVE_TEST_TIMEOUT_S 180)
endif()

# conclave_test(NAME SOURCES file... USES target...): a GoogleTest program in one process.
function(conclave_test name)
  cmake_parse_arguments(ARG "" "" "SOURCES;USES" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE ${ARG_USES} GTest::gtest_main)
  add_test(NAME ${name} COMMAND ${name})
  set_tests_properties(${name} PROPERTIES TIMEOUT ${CONCLAVE_TEST_TIMEOUT_S}
                       ENVIRONMENT LSAN_OPTIONS=suppressions=${CMAKE_SOURCE_DIR}/tests/support/leaks.supp)
endfunction()

# conclave_mpi_test(NAME SOURCES file... USES target...): a GoogleTest program run once on each of 1, 2, 3, 4 and 6
# ranks; the exit code is the largest over the ranks. More ranks than cores oversubscribe, never skip.
function(conclave_mpi_test name)
  cmake_parse_arguments(ARG "" "" "SOURCES;USES;RANKS" ${ARGN})
  if(NOT ARG_RANKS)
    set(ARG_RANKS 1 2 3 4 6)
  endif()
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE ${ARG_USES} mpi_test_main)
  foreach(ranks IN LISTS ARG_RANKS)
    add_test(NAME ${name}_${ranks}
             COMMAND ${CMAKE_SOURCE_DIR}/tests/support/mpirun.sh ${ranks} ${CONCLAVE_TEST_TIMEOUT_S} $<TARGET_FILE:${name}>)
    set_tests_properties(${name}_${ranks} PROPERTIES LABELS "mpi;ranks_${ranks}" PROCESSORS 2
                         TIMEOUT ${CONCLAVE_TEST_TIMEOUT_S})
  endforeach()
endfunction()
