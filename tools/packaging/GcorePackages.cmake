# Debian packages, built by cpack from a build tree that has GCORE_BUILD_SHARED on (preset release):
#
#   cd build/release && cpack           # or: cmake --build build/release --target package
#
#   libgcore0.1     the shared libraries, named after their SONAME
#   libgcore-dev    headers, static libraries, what find_package and pkg-config read
#   gcore-tools     the programs, which need none of the two; manuals, completion, documentation
#
# In the layout of Debian's own packages (libraries in a folder of their architecture) when the tree is configured with
# -DCMAKE_INSTALL_PREFIX=/usr. Nothing of this takes part in `cmake --install`.

if(NOT GCORE_BUILD_SHARED)
  return()
endif()

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME gcore)
set(CPACK_PACKAGE_VERSION ${PROJECT_VERSION})
set(CPACK_VERBATIM_VARIABLES ON)
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_RESOURCE_FILE_LICENSE "${PROJECT_SOURCE_DIR}/LICENSE")
set(CPACK_THREADS 0)
# umask 077 of whoever builds must not reach the packages.
set(CPACK_INSTALL_DEFAULT_DIRECTORY_PERMISSIONS
  OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)

set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_COMPONENTS_GROUPING ONE_PER_GROUP)
set(CPACK_COMPONENTS_ALL shared shared-dev writer reader gdbstub programs)
set(CPACK_COMPONENT_SHARED_GROUP library)
foreach(component IN ITEMS SHARED-DEV WRITER READER GDBSTUB)
  set(CPACK_COMPONENT_${component}_GROUP development)
endforeach()
set(CPACK_COMPONENT_PROGRAMS_GROUP tools)

set(GCORE_PACKAGE_MAINTAINER "The gcore authors <gcore@example.org>" CACHE STRING "Who is named in Debian packages")
set(CPACK_DEBIAN_PACKAGE_MAINTAINER "${GCORE_PACKAGE_MAINTAINER}")
# cpack's own default, which makes it take the first line of each package's description as its summary.
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "${PROJECT_NAME} built using CMake")
set(CPACK_DEBIAN_PACKAGE_RELEASE 1)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_COMPRESSION_TYPE xz)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
# Where the libraries of this tree are that others of it need.
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS_PRIVATE_DIRS
  "${PROJECT_BINARY_DIR}/writer" "${PROJECT_BINARY_DIR}/reader" "${PROJECT_BINARY_DIR}/gdbstub")

set(GCORE_DEB_LIBRARY libgcore${GCORE_SOVERSION})
set(deb_version ${PROJECT_VERSION}-${CPACK_DEBIAN_PACKAGE_RELEASE})
set(multiarch FALSE)
if(CMAKE_LIBRARY_ARCHITECTURE AND CMAKE_INSTALL_LIBDIR MATCHES "/${CMAKE_LIBRARY_ARCHITECTURE}$")
  set(multiarch TRUE)
endif()

set(CPACK_DEBIAN_LIBRARY_PACKAGE_NAME ${GCORE_DEB_LIBRARY})
set(CPACK_DEBIAN_LIBRARY_PACKAGE_SECTION libs)
set(CPACK_DEBIAN_LIBRARY_DESCRIPTION
  "memory dumps of virtual machines - shared libraries
What programs need that are linked with gcore's shared libraries: the
writer, which a VMM embeds to dump its guest, the reader of such dumps, and
the gdb stub that serves them to debuggers.")
set(CPACK_DEBIAN_LIBRARY_PACKAGE_CONTROL_EXTRA "${PROJECT_SOURCE_DIR}/tools/packaging/debian/triggers")
set(CPACK_DEBIAN_PACKAGE_GENERATE_SHLIBS ON)
set(CPACK_DEBIAN_PACKAGE_GENERATE_SHLIBS_POLICY ">=")

set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_NAME libgcore-dev)
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_SECTION libdevel)
# The reader's static library needs LLVM, and fmt is in none of its headers: who only embeds the writer needs neither.
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_DEPENDS
  "${GCORE_DEB_LIBRARY} (= ${deb_version}), libzstd-dev, zlib1g-dev")
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_SUGGESTS "cmake, pkg-config, llvm-19-dev")
set(CPACK_DEBIAN_DEVELOPMENT_DESCRIPTION
  "memory dumps of virtual machines - development files
Headers, static libraries, and what CMake (find_package) and pkg-config
need, to embed gcore's writer into a VMM, in C++ or C, or to read dumps from
a program. The reader's static library also needs llvm-19-dev.")
if(multiarch)
  set(CPACK_DEBIAN_LIBRARY_PACKAGE_MULTIARCH same)
  set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_MULTIARCH same)
endif()

set(CPACK_DEBIAN_TOOLS_PACKAGE_NAME gcore-tools)
set(CPACK_DEBIAN_TOOLS_PACKAGE_SECTION devel)
# What the reader loads when it needs it.
get_property(loaded GLOBAL PROPERTY GCORE_LOADED_PACKAGES)
list(JOIN loaded ", " loaded)
set(CPACK_DEBIAN_TOOLS_PACKAGE_RECOMMENDS "${loaded}")
set(CPACK_DEBIAN_LIBRARY_PACKAGE_RECOMMENDS "${loaded}")
set(CPACK_DEBIAN_TOOLS_PACKAGE_SUGGESTS "gdb | gdb-multiarch, qemu-system")
set(CPACK_DEBIAN_TOOLS_DESCRIPTION
  "memory dumps of virtual machines - programs
gcore-dump dumps a guest that QEMU runs, gcore-inspect says what is in a
dump, gcore-serve serves one to gdb and LLDB as if the guest were halted
right there, gcore-convert makes one kind of dump out of another, and
gcore-vmm is a small VMM that shows how dumping is embedded.")

set(CPACK_PRE_BUILD_SCRIPTS "${PROJECT_SOURCE_DIR}/tools/packaging/finish_debian.cmake")
set(CPACK_GCORE_PACKAGING_DIR "${PROJECT_SOURCE_DIR}/tools/packaging")
set(CPACK_GCORE_STRIP "${CMAKE_STRIP}")
set(CPACK_GCORE_LIBRARY_PACKAGE "${GCORE_DEB_LIBRARY}")
include(CPack)
