// Dumps that cannot be read in place: compressed ones, and ones from a pipe. Private to the reader.
#pragma once

#include <string>
#include <vector>

#include "reader/error.h"

namespace gcore::reader {

struct Unpacked {
  int fd = -1;                       // of the file to read: the one given, or an unnamed temporary file
  const char* compression = "none";  // "gzip" or "zstd"
};

/// Makes something seekable and uncompressed of `fd`, which it owns. A plain file is handed back as it is. Everything
/// else is copied in pieces, with holes for zeros, into an unnamed file in $TMPDIR (else /var/tmp, else /tmp); memory
/// use does not depend on the dump's size. What is no ELF file is refused after its first bytes, before it can fill a
/// disk. A stream that ends early or is damaged gives what came before, and a warning.
Expected<Unpacked> unpack(int fd, std::vector<std::string>& warnings);

}  // namespace gcore::reader
