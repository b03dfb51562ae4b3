#ifdef GCORE_WITH_LIBCURL

#include "reader/source/remote/curl.h"

namespace gcore::reader {

Expected<const Curl*> curl() {
  if (const auto* library = loaded<Curl>(); library != nullptr && library->is_ready) return library;
  return std::unexpected(Error{Error::Kind::unsupported,
                               "libcurl (7.66 or newer), which reads from there, is not installed (Debian: libcurl4)"});
}

}  // namespace gcore::reader

#endif
