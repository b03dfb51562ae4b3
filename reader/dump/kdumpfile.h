// libkdumpfile, loaded when the first kdump-compressed dump is opened: a program that is linked with it starts later,
// for a library that few dumps need. Private to the reader.
#pragma once

#include <libkdumpfile/kdumpfile.h>

#include "reader/error.h"
#include "reader/source/loaded_library.h"

namespace gcore::reader {

/// The functions that are used, under the library's names without `kdump_`; `create` is kdump_new.
struct Kdumpfile {
  LoadedLibrary library{GCORE_LIBKDUMPFILE_SONAME};
  decltype(&kdump_new) create = library.find("kdump_new");
  decltype(&kdump_free) free = library.find("kdump_free");
  decltype(&kdump_get_err) get_err = library.find("kdump_get_err");
  decltype(&kdump_open_fdset) open_fdset = library.find("kdump_open_fdset");
  decltype(&kdump_set_attr) set_attr = library.find("kdump_set_attr");
  decltype(&kdump_get_typed_attr) get_typed_attr = library.find("kdump_get_typed_attr");
  decltype(&kdump_bmp_find_set) bmp_find_set = library.find("kdump_bmp_find_set");
  decltype(&kdump_bmp_find_clear) bmp_find_clear = library.find("kdump_bmp_find_clear");
  decltype(&kdump_read) read = library.find("kdump_read");
};

/// The library, once it is loaded: the version whose headers were compiled, since others have another interface. The
/// error says that it is not there, and its name.
Expected<const Kdumpfile*> kdumpfile();

}  // namespace gcore::reader
