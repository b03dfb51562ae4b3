#include "writer/compress.h"

namespace gcore::writer {

bool is_supported(Compression compression) {
#ifdef GCORE_HAVE_ZLIB
  if (compression == Compression::gzip) return true;
#endif
#ifdef GCORE_HAVE_ZSTD
  if (compression == Compression::zstd) return true;
#endif
  return compression == Compression::none;
}

size_t heap_size(Compression compression) {
  constexpr size_t kMiB = 1 << 20;
  return compression == Compression::zstd ? 24 * kMiB : kMiB;
}

std::unique_ptr<Sink> compress(Compression compression, std::unique_ptr<Sink> next) {
#ifdef GCORE_HAVE_ZLIB
  if (compression == Compression::gzip) return open_gzip_sink(std::move(next));
#endif
#ifdef GCORE_HAVE_ZSTD
  if (compression == Compression::zstd) return open_zstd_sink(std::move(next));
#endif
  return next;
}

}  // namespace gcore::writer
