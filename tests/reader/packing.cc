#include "tests/reader/packing.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include "tests/support/dump_builder.h"

namespace gcore::tests {

std::string gzip_member(std::string_view bytes, int level) {
  std::string out(bytes.size() + bytes.size() / 8 + 1024, '\0');
  z_stream stream{};
  EXPECT_EQ(deflateInit2(&stream, level, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
  stream.avail_in = uInt(bytes.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = uInt(out.size());
  EXPECT_EQ(deflate(&stream, Z_FINISH), Z_STREAM_END);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

std::string gzip_of_one_block(char character, size_t count) {
  std::string bits;  // of the block, packed from the lowest bit on
  unsigned filled = 8;
  const auto put = [&](uint32_t value, unsigned size) {
    for (unsigned i = 0; i < size; ++i, value >>= 1) {
      if (filled == 8) bits += '\0', filled = 0;
      bits.back() = char(bits.back() | (value & 1) << filled++);
    }
  };
  const auto code = [&](uint32_t value, unsigned size) {  // Huffman codes stand with their highest bit first
    for (unsigned i = size; i-- > 0;) put(value >> i & 1, 1);
  };
  const auto literal = [&] { code(0x30 + uint8_t(character), 8); };
  EXPECT_LT(uint8_t(character), 144);
  put(1, 1);  // the last block
  put(1, 2);  // with the fixed codes
  size_t left = count;
  for (literal(), --left; left >= 258; left -= 258) code(0xc5, 8), code(0, 5);  // length 258, distance 1
  for (; left > 0; --left) literal();
  code(0, 7);  // end of block
  uLong crc = crc32(0, nullptr, 0);
  const std::string piece(size_t{1} << 20, character);
  for (left = count; left > 0;) {
    const size_t part = std::min(left, piece.size());
    crc = crc32(crc, reinterpret_cast<const Bytef*>(piece.data()), uInt(part));
    left -= part;
  }
  return std::string("\x1f\x8b\x08\0\0\0\0\0\0\xff", 10) + bits + Bytes().u32(crc).u32(count).str();
}

std::string zstd_frame(std::string_view bytes, bool says_size) {
  std::string out(ZSTD_compressBound(bytes.size()), '\0');
  ZSTD_CCtx* context = ZSTD_createCCtx();
  ZSTD_CCtx_setParameter(context, ZSTD_c_contentSizeFlag, says_size ? 1 : 0);
  ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, 1);
  const size_t size = ZSTD_compress2(context, out.data(), out.size(), bytes.data(), bytes.size());
  ZSTD_freeCCtx(context);
  EXPECT_FALSE(ZSTD_isError(size));
  out.resize(size);
  return out;
}

std::string skippable_frame(std::string_view bytes, uint32_t magic) {
  return Bytes().u32(magic).u32(bytes.size()).text(bytes).str();
}

std::string seek_table(const std::vector<FrameSizes>& frames) {
  Bytes table;
  for (const FrameSizes& frame : frames) table.u32(frame.packed).u32(frame.plain);
  table.u32(frames.size()).u8(0).u32(0x8f92eab1);
  return skippable_frame(table.str(), 0x184d2a5e);
}

std::string zstd_seekable(std::string_view bytes, size_t piece) {
  std::vector<FrameSizes> sizes;
  const std::string frames = in_pieces(bytes, piece, [&](std::string_view part) {
    std::string frame = zstd_frame(part);
    sizes.push_back({uint32_t(frame.size()), uint32_t(part.size())});
    return frame;
  });
  return frames + seek_table(sizes);
}

std::string flattened(std::string_view bytes, size_t piece) {
  Bytes out(true);
  out.text("makedumpfile").pad_to(16).u64(1).u64(1).pad_to(4096);
  // The second half first: a reader has to put it where it belongs.
  const size_t half = bytes.size() / 2;
  const auto add = [&](size_t from, size_t to) {
    for (size_t at = from; at < to; at += piece) {
      const std::string_view part = bytes.substr(at, std::min(piece, to - at));
      out.u64(at).u64(part.size()).text(part);
    }
  };
  add(half, bytes.size());
  add(0, half);
  return out.u64(~uint64_t{0}).u64(~uint64_t{0}).str();
}

int file_of(std::string_view bytes) {
  const int fd = ::memfd_create("packed", MFD_CLOEXEC);
  for (size_t done = 0; done < bytes.size();) {
    const ssize_t n = ::write(fd, bytes.data() + done, bytes.size() - done);
    EXPECT_GT(n, 0);
    if (n <= 0) break;
    done += size_t(n);
  }
  return fd;
}

}  // namespace gcore::tests
