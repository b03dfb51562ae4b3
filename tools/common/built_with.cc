#include "tools/common/built_with.h"

#include <initializer_list>
#include <string_view>

#include "tools/common/revision.h"  // made by tools/cmake/revision.cmake

namespace gcore::tools {

namespace {

struct Library {
  std::string_view name, version;
};

std::string list(std::initializer_list<Library> libraries) {
  std::string text;
  for (const Library& library : libraries) {
    if (library.version.empty()) continue;
    if (!text.empty()) text += ", ";
    text.append(library.name).append(" ").append(library.version);
  }
  return text;
}

}  // namespace

std::string libraries_of_reader() {
  return list({{"LLVM", GCORE_LLVM_VERSION},
               {"fmt", GCORE_FMT_VERSION},
               {"zlib", GCORE_ZLIB_VERSION},
               {"zstd", GCORE_ZSTD_VERSION},
               {"liblzma", GCORE_LZMA_VERSION},
               {"bzip2", GCORE_BZIP2_VERSION},
               {"lzo", GCORE_LZO_VERSION},
               {"snappy", GCORE_SNAPPY_VERSION},
               {"libkdumpfile", GCORE_KDUMPFILE_VERSION}});
}

std::string libraries_of_writer() { return list({{"zlib", GCORE_ZLIB_VERSION}, {"zstd", GCORE_ZSTD_VERSION}}); }

std::string revision() { return GCORE_REVISION; }

}  // namespace gcore::tools
