# Run by cpack between installing into its staging folders and packing them: what Debian wants in a package, and no other
# installation has. Folders here are as in GcorePackages.cmake's groups.

set(usr_of_library "${CPACK_TEMPORARY_DIRECTORY}/library/usr")
set(usr_of_development "${CPACK_TEMPORARY_DIRECTORY}/development/usr")
set(usr_of_tools "${CPACK_TEMPORARY_DIRECTORY}/tools/usr")

function(run)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE status ERROR_VARIABLE error)
  if(NOT status EQUAL 0)
    message(FATAL_ERROR "finishing the Debian packages: ${ARGN} failed (${status}): ${error}")
  endif()
endfunction()

# The loader finds the libraries of a package without being told where.
file(GLOB_RECURSE libraries "${usr_of_library}/*.so.*")
list(FILTER libraries EXCLUDE REGEX "\\.so\\.[0-9]+\\.[0-9]+$")
if(NOT libraries)
  message(FATAL_ERROR "finishing the Debian packages: no shared libraries in ${usr_of_library}")
endif()
foreach(library IN LISTS libraries)
  file(RPATH_REMOVE FILE "${library}")
endforeach()
file(GLOB_RECURSE archives "${usr_of_development}/*.a")
foreach(archive IN LISTS archives)
  run("${CPACK_GCORE_STRIP}" --strip-debug --enable-deterministic-archives "${archive}")
endforeach()

# cpack's install strips the built-in guests too, whose debug information is what they are there for.
file(GLOB_RECURSE manuals "${usr_of_tools}/share/man/*.[1-9]")
if(NOT manuals)
  message(FATAL_ERROR "finishing the Debian packages: no manuals in ${usr_of_tools}")
endif()
run(gzip -9n ${manuals})

# Debian's zsh looks for what packages bring in a folder of its own.
if(EXISTS "${usr_of_tools}/share/zsh/site-functions")
  file(RENAME "${usr_of_tools}/share/zsh/site-functions" "${usr_of_tools}/share/zsh/vendor-completions")
endif()
# Documentation is in the folder of its package; the licence is in `copyright`.
file(RENAME "${usr_of_tools}/share/doc/gcore" "${usr_of_tools}/share/doc/gcore-tools")
file(REMOVE "${usr_of_tools}/share/doc/gcore-tools/LICENSE")

file(READ "${CPACK_RESOURCE_FILE_LICENSE}" LICENSE)
string(REGEX REPLACE "^MIT License\n\n[^\n]*\n\n" "" LICENSE "${LICENSE}")
string(STRIP "${LICENSE}" LICENSE)
string(REGEX REPLACE "\n\n" "\n.\n" LICENSE "${LICENSE}")
string(REPLACE "\n" "\n " LICENSE " ${LICENSE}")
set(debian "${CPACK_GCORE_PACKAGING_DIR}/debian")
foreach(package IN ITEMS library:${CPACK_GCORE_LIBRARY_PACKAGE} development:libgcore-dev tools:gcore-tools)
  string(REGEX MATCH "^([^:]*):(.*)$" package "${package}")
  set(usr "${CPACK_TEMPORARY_DIRECTORY}/${CMAKE_MATCH_1}/usr")
  set(name "${CMAKE_MATCH_2}")
  configure_file("${debian}/copyright" "${usr}/share/doc/${name}/copyright" @ONLY)
  file(COPY_FILE "${debian}/changelog" "${usr}/share/doc/${name}/changelog.Debian")
  run(gzip -9n "${usr}/share/doc/${name}/changelog.Debian")
  if(EXISTS "${debian}/${name}.lintian-overrides")
    file(MAKE_DIRECTORY "${usr}/share/lintian/overrides")
    file(COPY_FILE "${debian}/${name}.lintian-overrides" "${usr}/share/lintian/overrides/${name}")
  endif()
  # What file(COPY_FILE) and the source tree's modes gave: files are nobody's to write but root's.
  run(chmod -R u=rwX,go=rX "${usr}")
endforeach()
