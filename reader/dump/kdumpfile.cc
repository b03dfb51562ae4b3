#ifdef GCORE_WITH_LIBKDUMPFILE

#include "reader/dump/kdumpfile.h"

#include "reader/source/loaded_library.h"

namespace gcore::reader {
namespace {

struct Loaded {
  Kdumpfile functions{};
  bool ready = false;

  Loaded() {
    ready = LoadedLibrary{GCORE_KDUMPFILE_SONAME}
                .find("kdump_new", functions.create)
                .find("kdump_free", functions.free)
                .find("kdump_get_err", functions.get_err)
                .find("kdump_open_fdset", functions.open_fdset)
                .find("kdump_set_attr", functions.set_attr)
                .find("kdump_get_typed_attr", functions.get_typed_attr)
                .find("kdump_bmp_find_set", functions.bmp_find_set)
                .find("kdump_bmp_find_clear", functions.bmp_find_clear)
                .find("kdump_read", functions.read)
                .complete();
  }
};

}  // namespace

Expected<const Kdumpfile*> kdumpfile() {
  static const Loaded kLoaded;
  if (kLoaded.ready) return &kLoaded.functions;
  return std::unexpected(Error{Error::Kind::unsupported,
                               "it is a kdump-compressed dump, and " GCORE_KDUMPFILE_SONAME
                               ", which reads these, is not installed (Debian: " GCORE_KDUMPFILE_PACKAGE ")"});
}

}  // namespace gcore::reader

#endif
