// From a descriptor to something that can be read at any offset. Private to the reader.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "reader/dump/foreign/foreign.h"
#include "reader/dump/makedumpfile.h"
#include "reader/source/block_source.h"
#include "reader/source/source.h"

namespace gcore::reader {

struct Container {
  std::unique_ptr<Source> source;
  const char* name = "none";           // as Dump::compression()
  std::optional<KdumpFile> kdump;      // without its `memory`, which is `source`
  std::optional<ForeignDump> foreign;  // likewise
  std::vector<std::string> notices;    // as Dump::notices()
};

struct ContainerOptions {
  bool lasting = false;          // see File::Lasting
  std::optional<RawMemory> raw;  // as OpenOptions::raw
  std::optional<MemoryMap> map;  // as OpenOptions::map
  OnProgress progress;
};

/// Takes ownership of `fd`, also on failure. What is done with it:
///
/// - a file without compression: nothing, it is read where it is;
/// - gzip, zstd: read in place through an index (GzipSource, ZstdSource), or where that is not possible, which is a
///   notice, unpacked into an unnamed temporary file;
/// - a pipe: unpacked into such a file, whatever is in it;
/// - makedumpfile's flattened format, in any of these: rearranged into such a file;
/// - another maker's format (foreign/), in any of the first three: read there;
/// - a kdump-compressed file, in any of these: read through libkdumpfile, from such a file where it is compressed
/// again.
///
/// What is no dump is refused after its first bytes, before it can fill a disk.
Expected<Container> open_container(int fd, const ContainerOptions& options, std::vector<std::string>& warnings);

/// The same for bytes from elsewhere.
Expected<Container> open_container(std::unique_ptr<Source> source, const ContainerOptions& options,
                                   std::vector<std::string>& warnings);

}  // namespace gcore::reader
