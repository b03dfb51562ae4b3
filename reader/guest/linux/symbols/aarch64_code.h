// What the instructions of an aarch64 function do to its frame. Pure. Private to the reader.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace gcore::reader::linux_guest {

/// How to find the caller's registers at an instruction. The CFA is what sp was in the caller.
struct Aarch64Frame {
  static constexpr size_t kFirstSaved = 19, kLastSaved = 30;  // x19 to x30

  bool by_x29 = false;  // the CFA is x29 + distance, else sp + distance
  int32_t distance = 0;
  /// Of x19 to x30: how far below the CFA it was saved; 0: it is in the register still.
  std::array<uint16_t, kLastSaved - kFirstSaved + 1> saved{};
  bool lost_return = false;  // x30 was not saved and has been overwritten by a call: code that never returns

  bool operator==(const Aarch64Frame&) const = default;
};

struct Aarch64Row {
  size_t instruction = 0;  // index, from which on the frame is so
  Aarch64Frame frame;
};

/// The rows of a function, the first of them at its first instruction, ascending. `code`: all of it, as numbers.
std::vector<Aarch64Row> follow_aarch64_code(std::span<const uint32_t> code);

}  // namespace gcore::reader::linux_guest
