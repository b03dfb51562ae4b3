// gzip files (RFC 1952) that are read in place. Private to the reader.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "reader/source/block_source.h"
#include "reader/source/unpack.h"

namespace gcore::reader {

/// Opening unpacks the file once, and keeps what is needed to start again every 512 KiB: the place to the bit, and, in
/// an unnamed temporary file, the 32 KiB before it (so that memory does not grow with the dump). The start of a member
/// needs none. Stretches of zeros are only remembered as such. The checksums are checked on that pass.
class GzipSource final : public BlockSource {
 public:
  /// Whoever opened the file gets it back when it has a place without a restart point for more than kMaxBlock (one
  /// deflate block may be of any length): `file` is untouched then, and the result is nullptr. Data that ends early or
  /// is damaged gives what came before, and a warning.
  static Expected<std::unique_ptr<GzipSource>> open(std::unique_ptr<Source>& file, const CheckStart& check,
                                                    const OnProgress& progress, std::vector<std::string>& warnings);

  std::string trouble() const override { return file_->trouble(); }

 private:
  GzipSource(std::unique_ptr<Source> file, std::unique_ptr<Source> windows, std::vector<Block> blocks, uint64_t size);
  int unpack(size_t block, std::span<std::byte> into) const override;

  std::unique_ptr<Source> file_, windows_;
};

}  // namespace gcore::reader
