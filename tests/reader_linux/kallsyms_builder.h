// The tables of kallsyms as scripts/kallsyms.c of Linux writes them, in each of the orders that there were.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/dump_builder.h"

namespace gcore::tests {

struct KallsymsLayout {
  bool addresses_first = true;   // up to 6.3
  bool sequence_numbers = true;  // from 6.2 on, and where they were backported
  bool plain = false;            // no CONFIG_KALLSYMS_BASE_RELATIVE
  bool absolute_per_cpu = true;  // x86_64 up to 6.14
  bool self_relative = false;    // 7.0
  size_t alignment = 8;
};

struct BuiltKallsyms {
  std::string bytes;
  uint64_t names = 0, num_syms = 0, token_table = 0, token_index = 0, addresses = 0, relative_base = 0;
};

/// `symbols`: address, and type with name ("Tschedule"); ascending. Some characters are written as pairs, and names of
/// more than 127 tokens with two bytes of length.
inline BuiltKallsyms build_kallsyms(const std::vector<std::pair<uint64_t, std::string>>& symbols, uint64_t at,
                                    const KallsymsLayout& layout) {
  BuiltKallsyms built;
  Bytes out;
  // Something before them, as there is in .rodata.
  for (int i = 0; i < 64; i++) out.u32(0x5aa5a55a);
  const auto place = [&] {
    out.align(layout.alignment);
    return at + out.size();
  };
  constexpr uint64_t kBase = 0xffffffff81000000;
  const auto write_addresses = [&] {
    built.addresses = place();
    for (size_t i = 0; i < symbols.size(); i++) {
      const uint64_t address = symbols[i].first;
      if (layout.plain)
        out.u64(address);
      else if (layout.self_relative)
        out.u32(static_cast<uint32_t>(address - (built.addresses + 4 * i)));
      else if (!layout.absolute_per_cpu)
        out.u32(static_cast<uint32_t>(address - kBase));
      else
        out.u32(address < kBase ? static_cast<uint32_t>(address) : static_cast<uint32_t>(kBase - 1 - address));
    }
    if (layout.plain || layout.self_relative) return;
    built.relative_base = place();
    out.u64(kBase);
  };
  const auto write_sequence = [&] {
    if (!layout.sequence_numbers) return;
    place();
    for (size_t i = 0; i < symbols.size(); i++) out.u8(i >> 16 & 0xff).u8(i >> 8 & 0xff).u8(i & 0xff);
  };

  if (layout.addresses_first) write_addresses();
  built.num_syms = place();
  out.u32(symbols.size());
  built.names = place();
  std::vector<uint32_t> markers;
  for (size_t i = 0; i < symbols.size(); i++) {
    if (i % 256 == 0) markers.push_back(static_cast<uint32_t>(at + out.size() - built.names));
    std::string tokens;
    const std::string& name = symbols[i].second;
    for (size_t c = 0; c < name.size(); c++) {
      if (name.compare(c, 2, "sy") == 0) {
        tokens += static_cast<char>(0x80), c++;
      } else {
        tokens += name[c];
      }
    }
    if (tokens.size() < 0x80) {
      out.u8(tokens.size());
    } else {
      out.u8((tokens.size() & 0x7f) | 0x80).u8(tokens.size() >> 7);
    }
    out.text(tokens);
  }
  place();
  for (const uint32_t marker : markers) out.u32(marker);
  if (layout.addresses_first) write_sequence();
  built.token_table = place();
  std::vector<uint32_t> index;
  for (unsigned token = 0; token < 256; token++) {
    index.push_back(static_cast<uint32_t>(at + out.size() - built.token_table));
    // What no name needs is a pair of others.
    out.text(token == 0x80                  ? "sy"
             : token > 0x20 && token < 0x7f ? std::string(1, static_cast<char>(token))
                                            : "zq")
        .u8(0);
  }
  built.token_index = place();
  for (const uint32_t offset : index) out.u16(offset);
  if (!layout.addresses_first) {
    write_addresses();
    write_sequence();
  }
  place();
  built.bytes = out.str();
  return built;
}

}  // namespace gcore::tests
