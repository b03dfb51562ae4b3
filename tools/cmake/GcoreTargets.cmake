# One way to make a target, so that every folder has the same language level, warnings and sanitizers.
#
#   gcore_settings(TARGET [STANDARD 20|23])
#   gcore_precompile(TARGET [HEADER...])
#   gcore_part_with_threads(TARGET REGEX)

include_guard(GLOBAL)

set(GCORE_EXPORTS "${CMAKE_CURRENT_LIST_DIR}/exports.map")

function(gcore_settings target)
  cmake_parse_arguments(ARG "" "STANDARD" "" ${ARGN})
  if(NOT ARG_STANDARD)
    set(ARG_STANDARD 23)
  endif()
  set_target_properties(${target} PROPERTIES
    CXX_STANDARD ${ARG_STANDARD} CXX_STANDARD_REQUIRED ON CXX_EXTENSIONS OFF
    C_STANDARD 11 C_STANDARD_REQUIRED ON C_EXTENSIONS OFF
    POSITION_INDEPENDENT_CODE ON
    CXX_VISIBILITY_PRESET hidden C_VISIBILITY_PRESET hidden)
  get_target_property(type ${target} TYPE)
  if(type STREQUAL "EXECUTABLE" AND NOT GCORE_SANITIZE)
    # Most of LLVM's libraries is not needed: a program starts in three quarters of the time without it.
    target_link_options(${target} PRIVATE -Wl,--gc-sections)
  endif()
  if(NOT type STREQUAL "EXECUTABLE")
    # The headers need that language level of whoever includes them.
    target_compile_features(${target} PUBLIC cxx_std_${ARG_STANDARD})
  endif()
  if(type STREQUAL "SHARED_LIBRARY")
    set_target_properties(${target} PROPERTIES CXX_VISIBILITY_PRESET default C_VISIBILITY_PRESET default
      LINK_DEPENDS "${GCORE_EXPORTS}")
    target_link_options(${target} PRIVATE "-Wl,--version-script=${GCORE_EXPORTS}")
  endif()
  target_compile_options(${target} PRIVATE -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wno-sign-conversion
    $<$<COMPILE_LANGUAGE:CXX>:-Wnon-virtual-dtor -Woverloaded-virtual>)
  if(GCORE_WARNINGS_AS_ERRORS)
    target_compile_options(${target} PRIVATE -Werror)
  endif()
  target_compile_definitions(${target} PRIVATE GCORE_VERSION="${PROJECT_VERSION}" _FILE_OFFSET_BITS=64)
  if(GCORE_SANITIZE)
    target_compile_options(${target} PRIVATE -fsanitize=${GCORE_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
    # PUBLIC, so that a program that links a sanitized library is linked with the run-time too.
    target_link_options(${target} PUBLIC -fsanitize=${GCORE_SANITIZE})
  endif()
  if(GCORE_FUZZ)
    target_compile_options(${target} PRIVATE -fsanitize=fuzzer-no-link)
  endif()
endfunction()

# Compiles what most files of TARGET include once: what all have, and the HEADERs. Only where GCORE_PRECOMPILE or sanitizers are: those builds are
# for tests alone, and others shall see a header that does not include what it needs.
function(gcore_precompile target)
  if(GCORE_SANITIZE OR GCORE_PRECOMPILE)
    target_precompile_headers(${target} PRIVATE <algorithm> <array> <cerrno> <chrono> <cinttypes> <cstring> <expected> <functional>
      <limits> <map> <memory> <mutex> <optional> <span> <string> <string_view> <unordered_map> <utility> <vector> ${ARGN})
  endif()
endfunction()

# For the thread sanitizer's tests: TARGET_with_threads, a library of those sources of TARGET whose path REGEX matches. The others, about
# what runs in the guest, are half of it, and would be compiled in vain.
function(gcore_part_with_threads target regex)
  if(NOT GCORE_SANITIZE MATCHES "thread")
    return()
  endif()
  get_target_property(sources ${target} SOURCES)
  list(FILTER sources INCLUDE REGEX "${regex}")
  get_target_property(libraries ${target} LINK_LIBRARIES)
  list(REMOVE_ITEM libraries gcore_reader)  # which that part does without
  set(part ${target}_with_threads)
  add_library(${part} STATIC EXCLUDE_FROM_ALL ${sources})
  gcore_settings(${part})
  gcore_precompile(${part} <fmt/format.h>)
  target_include_directories(${part} PUBLIC "${PROJECT_SOURCE_DIR}")
  target_compile_definitions(${part} PRIVATE $<TARGET_PROPERTY:${target},COMPILE_DEFINITIONS>)
  target_link_libraries(${part} PRIVATE ${libraries})
endfunction()
