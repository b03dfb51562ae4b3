// Entries of .debug_frame (DWARF 4, section 6.4). Private to the reader.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "reader/guest/linux/symbols/bytes.h"

namespace gcore::reader::linux_guest {

// DWARF's operations.
enum : uint8_t {
  kAdvance1 = 0x02,
  kAdvance2 = 0x03,
  kAdvance4 = 0x04,
  kUndefined = 0x07,
  kSameValue = 0x08,
  kDefCfa = 0x0c,
  kDefCfaExpression = 0x0f,
  kExpression = 0x10,
  kOffsetSigned = 0x11,
  kDefCfaSigned = 0x12,
  kValueOffsetUnsigned = 0x14,
  kValueExpression = 0x16,
  kAdvance = 0x40,  // with the distance, below 64
  kOffset = 0x80,   // with the register
  kRestore = 0xc0,  // with the register
};
inline constexpr uint8_t kDeref = 0x06, kConst1 = 0x08, kConst1Signed = 0x09, kConstUnsigned = 0x10,
                         kConstSigned = 0x11, kMinus = 0x1c, kOr = 0x21, kPlus = 0x22, kShiftLeft = 0x24,
                         kRegister0 = 0x70;

class FrameWriter {
 public:
  FrameWriter(format::ByteOrder order, uint64_t displacement) : out_(order), displacement_(displacement) {}

  /// Ends with an entry that is open. `initial` is the CIE's instructions.
  uint32_t cie(bool signal, uint8_t code_alignment, int data_alignment, uint8_t return_register,
               std::span<const std::byte> initial) {
    const size_t at = out_.size();
    out_.u32(0);
    out_.u32(0xffffffff);
    out_.u8(4);
    out_.text(signal ? "S" : "");
    out_.u8(8);  // bytes of an address
    out_.u8(0);  // of a segment
    out_.uleb(code_alignment);
    out_.sleb(data_alignment);
    out_.uleb(return_register);
    append(initial);
    close(at);
    return static_cast<uint32_t>(at);
  }
  void fde(uint32_t cie, uint64_t start, uint64_t size, std::span<const std::byte> instructions) {
    const size_t at = out_.size();
    out_.u32(0);
    out_.u32(cie);
    out_.u64(linked_address(start, displacement_));
    out_.u64(size);
    append(instructions);
    close(at);
  }
  std::vector<std::byte>& take() { return out_.take(); }

 private:
  void append(std::span<const std::byte> bytes) { out_.take().insert(out_.take().end(), bytes.begin(), bytes.end()); }
  void close(size_t at) {
    out_.pad(8);  // DW_CFA_nop is 0
    out_.set_u32(at, out_.size() - at - 4);
  }

  Bytes out_;
  uint64_t displacement_;
};

/// Distance to the next row.
inline void advance(Bytes& out, uint64_t distance) {
  if (distance == 0) return;
  if (distance < 64) {
    out.u8(kAdvance | distance);
  } else if (distance < 256) {
    out.u8(kAdvance1), out.u8(distance);
  } else if (distance < 65536) {
    out.u8(kAdvance2), out.u16(distance);
  } else {
    out.u8(kAdvance4), out.u32(distance);
  }
}

}  // namespace gcore::reader::linux_guest
