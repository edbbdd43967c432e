# SPDX-License-Identifier: BSD-3-Clause

# Flags that every target shares.
add_library(conclave_flags INTERFACE)
target_include_directories(conclave_flags INTERFACE ${CMAKE_SOURCE_DIR})
# -fno-math-errno: std::sqrt of a vector is one instruction; no code here reads errno after it.
target_compile_options(conclave_flags INTERFACE -fno-math-errno -Wall -Wextra -Wpedantic -Wshadow -Wnon-virtual-dtor -Woverloaded-virtual
                                                -Wcast-qual -Wduplicated-cond -Wlogical-op)
if(CONCLAVE_WERROR)
  target_compile_options(conclave_flags INTERFACE -Werror)
endif()
if(CONCLAVE_ARCH)
  target_compile_options(conclave_flags INTERFACE -march=${CONCLAVE_ARCH})
endif()
if(CONCLAVE_SANITIZE)
  target_compile_options(conclave_flags INTERFACE -fsanitize=${CONCLAVE_SANITIZE} -fno-sanitize-recover=all
                         -fno-omit-frame-pointer)
  target_link_options(conclave_flags INTERFACE -fsanitize=${CONCLAVE_SANITIZE})
endif()

# conclave_library(NAME SOURCES file... USES target... [EXTERNAL target...]): one folder's library. USES are the
# project's own targets, visible to those who use this one; EXTERNAL are libraries it keeps to itself.
function(conclave_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;USES;EXTERNAL" ${ARGN})
  add_library(${name} STATIC ${ARG_SOURCES})
  add_library(conclave::${name} ALIAS ${name})
  set_target_properties(${name} PROPERTIES OUTPUT_NAME conclave_${name})
  target_link_libraries(${name} PUBLIC conclave_flags ${ARG_USES} PRIVATE ${ARG_EXTERNAL})
endfunction()
