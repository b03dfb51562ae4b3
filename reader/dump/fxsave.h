// The area that FXSAVE fills, as other makers' notes have it. Private to the reader.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "writer/format/endian.h"
#include "writer/format/x87.h"

namespace gcore::reader {

inline constexpr size_t kFxsaveSize = 512;

/// Puts 16 vector registers of 16 bytes each: "xmm0.lo", or "ymm0h.lo" with the prefix "ymm" and the suffix "h".
inline void put_vectors(std::span<const std::byte> from, const std::string& prefix, const std::string& suffix,
                        format::RegisterFile& registers) {
  constexpr auto kOrder = format::ByteOrder::little;
  for (size_t i = 0; i < 16; ++i) {
    const std::string name = prefix + std::to_string(i) + suffix;
    registers.put(name + ".lo", format::load<uint64_t>(&from[16 * i], kOrder));
    registers.put(name + ".hi", format::load<uint64_t>(&from[16 * i + 8], kOrder));
  }
}

/// Puts the x87 and SSE state of an area of kFxsaveSize bytes (Intel's manual, volume 1, 10.5.1): ST0 comes first.
inline void put_fxsave(std::span<const std::byte> area, format::RegisterFile& registers) {
  constexpr auto kOrder = format::ByteOrder::little;
  const auto status = format::load<uint16_t>(&area[2], kOrder);
  registers.put("fctrl", format::load<uint16_t>(&area[0], kOrder));
  registers.put("fstat", status);
  registers.put("mxcsr", format::load<uint32_t>(&area[24], kOrder));
  format::X87State fpu;
  fpu.abridged_tags = format::load<uint8_t>(&area[4], kOrder);
  for (size_t i = 0; i < 8; ++i) {
    const size_t physical = (i + (status >> 11 & 7)) & 7;
    fpu.mantissa[physical] = format::load<uint64_t>(&area[32 + 16 * i], kOrder);
    fpu.exponent[physical] = format::load<uint16_t>(&area[40 + 16 * i], kOrder);
  }
  format::put_x87(fpu, registers);
  put_vectors(area.subspan(160), "xmm", "", registers);
}

}  // namespace gcore::reader
