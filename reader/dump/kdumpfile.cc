#ifdef GCORE_WITH_LIBKDUMPFILE

#include "reader/dump/kdumpfile.h"

namespace gcore::reader {

Expected<const Kdumpfile*> kdumpfile() {
  if (const auto* library = loaded<Kdumpfile>()) return library;
  return std::unexpected(Error{Error::Kind::unsupported,
                               "it is a kdump-compressed dump, and " GCORE_LIBKDUMPFILE_SONAME
                               ", which reads these, is not installed (Debian: " GCORE_LIBKDUMPFILE_PACKAGE ")"});
}

}  // namespace gcore::reader

#endif
