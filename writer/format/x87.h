// The x87 stack of an x86 vCPU: from how processors and VMMs keep it to how a RegisterFile has it.
//
// FXSAVE keeps one bit a register ("abridged"), set when it is in use; ftag is the processor's full tag word, with two
// bits a register: 0 a number, 1 zero, 2 anything else (infinite, not a number, denormal), 3 empty. Both count
// physical registers; ST0 is the one that TOP, bits 11 to 13 of the status word, names. (Intel's manual, volume 1, 8.1)
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>

#include "writer/format/registers.h"

namespace gcore::format {

/// The tag of a register that is in use. `exponent` has the sign in bit 15.
constexpr unsigned x87_tag(uint64_t mantissa, uint64_t exponent) {
  const uint64_t power = exponent & 0x7fff;
  if (power == 0 && mantissa == 0) return 1;
  return power == 0 || power == 0x7fff || mantissa >> 63 == 0 ? 2 : 0;
}

/// The registers by their physical numbers, as a VMM's state has them.
struct X87State {
  std::array<std::optional<uint64_t>, 8> mantissa;
  std::array<uint64_t, 8> exponent{};
  std::optional<uint64_t> abridged_tags;  // bit n: physical register n is in use
};

/// Puts st0 to st7, and ftag when all eight are known; by the TOP of fstat, without which nothing is put.
inline void put_x87(const X87State& state, RegisterFile& registers) {
  const auto status = registers.get("fstat");
  if (!status) return;
  const unsigned top = *status >> 11 & 7;
  uint64_t tags = 0;
  bool all = state.abridged_tags.has_value();
  for (unsigned physical = 0; physical < 8; ++physical) {
    if (!state.mantissa[physical]) {
      all = false;
      continue;
    }
    const std::string name = "st" + std::to_string((physical - top) & 7);
    registers.put(name + ".lo", *state.mantissa[physical]);
    registers.put(name + ".hi", state.exponent[physical]);
    const bool used = (state.abridged_tags.value_or(0) >> physical & 1) != 0;
    tags |= uint64_t{used ? x87_tag(*state.mantissa[physical], state.exponent[physical]) : 3} << (2 * physical);
  }
  if (all) registers.put("ftag", tags);
}

}  // namespace gcore::format
