// QEMU's migration stream, taken apart while it arrives: what `migrate` writes, and with it `virsh save` and the like.
//
// All numbers are big-endian. "QEVM", u32 version 3, then sections (QEMU: migration/savevm.c):
//
//     07 configuration {u32 length, machine name}, 05 subsections of it
//     01 start, 04 full {u32 id, u8 length, name, u32 instance, u32 version, state}
//     02 part, 03 end   {u32 id, state}
//     7e footer {u32 id} after each of these four
//     08 command {u16 number, u16 length, bytes}, for who receives the guest: 11 before its end (QEMU 10)
//     00 end of the sections; 06 description {u32 length, JSON}
//
// The state of "ram" (migration/ram.c) is a row of u64 = address | flags: 04 block list {for each {u8 length, name, u64
// size}, until their sum is the address}, 02 a page of one byte {u8}, 08 a page {4,096 bytes}, 10 end of this part; 20:
// of the same block as before, else {u8 length, name} comes first. That of a device has no length: the description at
// the end says how long each of its fields is. So what follows "ram" is kept, and taken apart when the description is
// there. Flags of what a stream may have and this does not read (xbzrle, multifd, compression) are an error.
//
// With the capability mapped-ram (QEMU 9.0 and later; docs/devel/migration/mapped-ram.rst) each entry of the block list
// ends in {u32 version 1, u64 page size, u64 place of a bitmap, u64 place of the pages}, all of which are places in the
// file: the pages lie there by their offset in the block, and the next entry follows after them. A bit a page, least
// significant bit first: pages whose bit is 0 are zeros.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "reader/error.h"

namespace gcore::reader {

/// A block of guest memory, by QEMU's name for it ("pc.ram", "0000:00:01.0/vga.vram"). The stream does not say where in
/// guest-physical memory it is.
struct StreamBlock {
  std::string name;
  uint64_t size = 0;  // bytes
};

/// A field of a device's state. Elements of arrays and members of structures are fields of their own: "env.regs[3]",
/// "env.segs[0].base"; those of a subsection have its name first: "cpu/vfp:env.vfp.zregs[0]".
struct DeviceField {
  std::string path;
  std::string_view bytes;  // as in the stream; those of its SavedGuest
  /// The number that its 1 to 8 bytes are; 0 of others.
  uint64_t number() const;
};

struct DeviceState {
  std::string name;       // "cpu"
  uint32_t instance = 0;  // of several of that name
  uint32_t version = 0;
  std::vector<DeviceField> fields;

  const DeviceField* find(std::string_view path) const;
};

/// All of a stream but the contents of memory.
struct SavedGuest {
  std::string machine;  // "pc-q35-7.2"; "" when the stream does not say
  std::vector<StreamBlock> blocks;
  bool has_all_memory = false;       // false: the stream ends within it
  std::vector<DeviceState> devices;  // in the order of the stream
  std::string state;                 // what the devices' fields point into
};

/// Where memory goes. Offsets are in the block, in whole pages; a page may come more than once, and the last one
/// counts. Pages that never come are zeros.
class StreamMemory {
 public:
  virtual ~StreamMemory() = default;
  /// Before any page. An error ends the reading.
  virtual Expected<void> begin(std::span<const StreamBlock> blocks) = 0;
  /// `place`: where the bytes stand in the stream.
  virtual Expected<void> page(size_t block, uint64_t offset, std::span<const std::byte> bytes, uint64_t place) = 0;
  /// A page of one and the same byte.
  virtual Expected<void> fill(size_t block, uint64_t offset, std::byte value) = 0;
  /// mapped-ram: all of a block, after begin(). `bitmap` and `pages` are places in the stream. Refused unless it is
  /// overridden, as where the stream is a pipe.
  virtual Expected<void> mapped(size_t block, uint64_t bitmap, uint64_t pages);
};

inline constexpr size_t kStreamPage = 4096;

/// Where a stream comes from.
struct StreamInput {
  /// Fills in at least one byte and returns how many, 0 at the end; its error is returned as it is.
  std::function<Expected<size_t>(std::span<std::byte>)> read;
  /// The next read() is at that place. Only mapped-ram needs it.
  std::function<void(uint64_t place)> seek = nullptr;
  uint64_t start = 0;  // the place of the stream's first byte
};

/// Reads up to the end of the stream into `guest`, which on failure has what came before. What is not a stream is
/// Kind::not_elf, one that was cut off Kind::truncated. Takes memory for the devices' state, at most 256 MiB.
Expected<void> read_qemu_stream(const StreamInput& input, StreamMemory& memory, SavedGuest& guest);

}  // namespace gcore::reader
