#include "tests/support/kdump_builder.h"

#include <zlib.h>

#include <algorithm>
#include <cstdint>

#include "tests/support/dump_builder.h"

namespace gcore::tests {

std::string KdumpBuilder::build() const {
  constexpr size_t kPage = 4096;
  const bool wide = machine[0] != 'i';
  Bytes header;
  header.text("KDUMP   ").u32(6).text(system).pad_to(12 + 4 * 65).text(machine).pad_to(wide ? 424 : 412);
  header.u32(1).u32(kPage).u32(1).u32(2).u32(map.size());
  header.pad_to(kPage);
  const size_t sub = header.size(), data = 4 * kPage;
  const size_t pages = size_t(std::count_if(map.begin(), map.end(), [](char c) { return c >= 'a'; }));
  size_t at = data + pages * 24;
  const size_t notes_at = at, text_at = at + notes.size();
  at += notes.size() + vmcoreinfo.size();
  header.put(sub + (wide ? 32 : 20), text_at, 8).put(sub + (wide ? 40 : 28), vmcoreinfo.size(), wide ? 8 : 4);
  header.put(sub + (wide ? 48 : 32), notes_at, 8).put(sub + (wide ? 56 : 40), notes.size(), wide ? 8 : 4);
  header.put(sub + (wide ? 96 : 72), map.size(), 8);
  uint8_t bits[2] = {};
  for (size_t i = 0; i < map.size(); ++i) {
    bits[0] = uint8_t(bits[0] | (map[i] != '.') << i);
    bits[1] = uint8_t(bits[1] | (map[i] >= 'a') << i);
  }
  header.pad_to(2 * kPage).u8(bits[0]).pad_to(3 * kPage).u8(bits[1]).pad_to(4 * kPage);
  std::string packed;
  for (const char c : map) {
    if (c < 'a') continue;
    std::string page(kPage, c);
    const bool raw = c == 'b';
    if (!raw) {
      uLongf size = compressBound(kPage);
      page.resize(size);
      const std::string plain(kPage, c);
      compress(reinterpret_cast<Bytef*>(page.data()), &size, reinterpret_cast<const Bytef*>(plain.data()), kPage);
      page.resize(size);
    }
    header.u64(at + packed.size()).u32(page.size()).u32(raw ? 0 : 1).u64(0);
    packed += page;
  }
  return header.text(notes).text(vmcoreinfo).text(packed).str();
}

}  // namespace gcore::tests
