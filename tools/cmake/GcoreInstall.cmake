# What `cmake --install` gives of the libraries: for CMake the package gcore (gcore-config.cmake.in says what is in it),
# for others gcore-writer.pc, and gcore-reader.pc and gcore-gdbstub.pc for the shared libraries of these.
#
#   gcore_install_library(TARGET COMPONENT HEADERS FILE...)
#   gcore_install_package()
#
# Headers are given by their paths from the root of the tree and keep them under include/gcore, so that a program includes
# "writer/dump.h" in the tree and installed alike.
#
# With GCORE_BUILD_SHARED a static library gets a shared one beside it, gcore::NAME_shared, of the same objects. Its run-time
# file is component `shared`; what linking against it needs is component `shared-dev`.

include_guard(GLOBAL)
include(CMakePackageConfigHelpers)

set(GCORE_INSTALL_CMAKEDIR "${CMAKE_INSTALL_LIBDIR}/cmake/gcore")
set(GCORE_INSTALL_TEMPLATES "${CMAKE_CURRENT_LIST_DIR}")

# Before 1.0 each minor version is an interface of its own.
set(GCORE_SOVERSION ${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR})

set_property(GLOBAL PROPERTY GCORE_PC_DESCRIPTION_reader "Reads memory dumps of virtual machines: memory, vCPUs, facts")
set_property(GLOBAL PROPERTY GCORE_PC_DESCRIPTION_gdbstub "Serves memory dumps of virtual machines to debuggers")

# Relative to the .pc file, so that an installation may be moved, and `cmake --install --prefix` may choose its place.
function(gcore_pc_folders)
  foreach(folder IN ITEMS LIBDIR INCLUDEDIR)
    if(IS_ABSOLUTE "${CMAKE_INSTALL_${folder}}")
      set(GCORE_PC_${folder} "${CMAKE_INSTALL_${folder}}" PARENT_SCOPE)
    else()
      file(RELATIVE_PATH up "/${CMAKE_INSTALL_LIBDIR}/pkgconfig" "/${CMAKE_INSTALL_${folder}}")
      cmake_path(SET up NORMALIZE "${up}/.")
      string(REGEX REPLACE "/$" "" up "${up}")
      set(GCORE_PC_${folder} "\${pcfiledir}/${up}" PARENT_SCOPE)
    endif()
  endforeach()
endfunction()

function(gcore_shared_twin target component)
  set(twin ${target}_shared)
  # The objects are compiled once, for both, so that the static library's show their names too. Those that it has of
  # another library are not among its own.
  set_target_properties(${target} PROPERTIES CXX_VISIBILITY_PRESET default C_VISIBILITY_PRESET default)
  get_target_property(others ${target} SOURCES)
  list(FILTER others INCLUDE REGEX "TARGET_OBJECTS")
  add_library(${twin} SHARED $<TARGET_OBJECTS:${target}> ${others})
  add_library(gcore::${component}_shared ALIAS ${twin})
  set_target_properties(${twin} PROPERTIES OUTPUT_NAME ${target} EXPORT_NAME ${component}_shared LINKER_LANGUAGE CXX
    VERSION ${PROJECT_VERSION} SOVERSION ${GCORE_SOVERSION} INSTALL_RPATH "$ORIGIN" LINK_DEPENDS "${GCORE_EXPORTS}")
  target_link_options(${twin} PRIVATE "-Wl,--version-script=${GCORE_EXPORTS}")
  foreach(property IN ITEMS INTERFACE_INCLUDE_DIRECTORIES INTERFACE_COMPILE_FEATURES INTERFACE_LINK_OPTIONS)
    get_target_property(value ${target} ${property})
    if(value)
      set_target_properties(${twin} PROPERTIES ${property} "${value}")
    endif()
  endforeach()
  foreach(kind IN ITEMS PRIVATE INTERFACE)
    string(REPLACE "PRIVATE_" "" property "${kind}_LINK_LIBRARIES")
    get_target_property(links ${target} ${property})
    # A private library of a static one still has to be linked; of a shared one it is a matter of its own.
    list(FILTER links EXCLUDE REGEX "LINK_ONLY")
    list(TRANSFORM links REPLACE "^(gcore_|gcore::)(writer|reader|gdbstub)$" "\\1\\2_shared")
    target_link_libraries(${twin} ${kind} ${links})
  endforeach()
  install(TARGETS ${twin} EXPORT gcore-${component}-shared-targets
    LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}" COMPONENT shared NAMELINK_COMPONENT shared-dev)
  install(EXPORT gcore-${component}-shared-targets NAMESPACE gcore:: DESTINATION "${GCORE_INSTALL_CMAKEDIR}"
    COMPONENT shared-dev)
  # The writer has a .pc file in any case; what the static ones of the others need, pkg-config cannot say.
  if(NOT component STREQUAL "writer")
    set(file gcore-${component}.pc)
    gcore_pc_folders()
    set(GCORE_PC_NAME ${component})
    get_property(GCORE_PC_DESCRIPTION GLOBAL PROPERTY GCORE_PC_DESCRIPTION_${component})
    set(GCORE_PC_REQUIRES "gcore-writer")
    if(component STREQUAL "gdbstub")
      set(GCORE_PC_REQUIRES "gcore-reader")
    endif()
    configure_file("${GCORE_INSTALL_TEMPLATES}/gcore-library.pc.in" "${PROJECT_BINARY_DIR}/${file}" @ONLY)
    install(FILES "${PROJECT_BINARY_DIR}/${file}" DESTINATION "${CMAKE_INSTALL_LIBDIR}/pkgconfig"
      COMPONENT shared-dev)
  endif()
endfunction()

function(gcore_install_library target component)
  cmake_parse_arguments(ARG "" "" "HEADERS" ${ARGN})
  set_target_properties(${target} PROPERTIES EXPORT_NAME ${component}
    VERSION ${PROJECT_VERSION} SOVERSION ${GCORE_SOVERSION})
  target_include_directories(${target} INTERFACE $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}/gcore>)
  install(TARGETS ${target} EXPORT gcore-${component}-targets COMPONENT ${component}
    ARCHIVE DESTINATION "${CMAKE_INSTALL_LIBDIR}" LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}")
  install(EXPORT gcore-${component}-targets NAMESPACE gcore:: DESTINATION "${GCORE_INSTALL_CMAKEDIR}"
    COMPONENT ${component})
  foreach(header IN LISTS ARG_HEADERS)
    cmake_path(GET header PARENT_PATH folder)
    install(FILES "${PROJECT_SOURCE_DIR}/${header}" DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}/gcore/${folder}"
      COMPONENT ${component})
  endforeach()
  get_target_property(type ${target} TYPE)
  if(GCORE_BUILD_SHARED AND type STREQUAL "STATIC_LIBRARY")
    gcore_shared_twin(${target} ${component})
  endif()
endfunction()

# The package's own files come with the writer, which is the component that is always there.
function(gcore_install_package)
  configure_package_config_file("${GCORE_INSTALL_TEMPLATES}/gcore-config.cmake.in"
    "${PROJECT_BINARY_DIR}/gcore-config.cmake" INSTALL_DESTINATION "${GCORE_INSTALL_CMAKEDIR}"
    NO_SET_AND_CHECK_MACRO)
  write_basic_package_version_file("${PROJECT_BINARY_DIR}/gcore-config-version.cmake" COMPATIBILITY SameMinorVersion)
  install(FILES "${PROJECT_BINARY_DIR}/gcore-config.cmake" "${PROJECT_BINARY_DIR}/gcore-config-version.cmake"
    DESTINATION "${GCORE_INSTALL_CMAKEDIR}" COMPONENT writer)

  gcore_pc_folders()
  # What a static library needs of others: the names that the writer's CMakeLists.txt gives for an installation.
  set(GCORE_PC_PRIVATE "")
  get_target_property(type gcore_writer TYPE)
  if(type STREQUAL "STATIC_LIBRARY")
    get_target_property(links gcore_writer LINK_LIBRARIES)
    if("${links}" MATCHES "INSTALL_INTERFACE:zstd")
      string(APPEND GCORE_PC_PRIVATE " -lzstd")
    endif()
    if("${links}" MATCHES "ZLIB::ZLIB")
      string(APPEND GCORE_PC_PRIVATE " -lz")
    endif()
    string(APPEND GCORE_PC_PRIVATE " -lstdc++ -pthread")
    if(GCORE_SANITIZE)
      string(APPEND GCORE_PC_PRIVATE " -fsanitize=${GCORE_SANITIZE}")
    endif()
  endif()
  configure_file("${GCORE_INSTALL_TEMPLATES}/gcore-writer.pc.in" "${PROJECT_BINARY_DIR}/gcore-writer.pc" @ONLY)
  install(FILES "${PROJECT_BINARY_DIR}/gcore-writer.pc" DESTINATION "${CMAKE_INSTALL_LIBDIR}/pkgconfig"
    COMPONENT writer)
endfunction()
