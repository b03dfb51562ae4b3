// Dumps that cannot be read in place are copied into an unnamed temporary file. Private to the reader.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "reader/source/block_source.h"
#include "reader/source/decoder.h"
#include "reader/source/file.h"

namespace gcore::reader {

/// Told the first unpacked bytes (16, or all there are): says why it is not worth going on.
using CheckStart = std::function<Expected<void>(std::span<const std::byte>)>;

/// Gives the next bytes of what is unpacked: none at the end, or where Result::error says why.
using Input = std::function<Source::Result(std::span<std::byte>)>;
Input input_of(int fd);
/// From an offset on. The source must outlive it.
Input input_of(const Source& source, uint64_t at);

/// Unpacks all that `input` gives, of which `start` was read already. With holes for zeros; memory use does not depend
/// on the dump's size. A stream that ends early or is damaged gives what came before, and a warning. `total` is the
/// number of bytes that are expected, for `progress`, or 0.
Expected<std::unique_ptr<File>> unpack(const Input& input, std::span<const std::byte> start, Packing packing,
                                       uint64_t total, const CheckStart& check, const OnProgress& progress,
                                       std::vector<std::string>& warnings);

/// A source as a file with a descriptor: itself where it is one, else a copy of it, as it is.
Expected<std::unique_ptr<File>> as_file(std::unique_ptr<Source> source);

}  // namespace gcore::reader
