#include "tests/support/foreign_files.h"

#include <algorithm>
#include <cstring>
#include <initializer_list>
#include <span>
#include <utility>

namespace gcore::tests {
namespace {

/// CRC-32C by its definition, masked as snappy's framing has it.
uint32_t masked_sum(const std::string& bytes) {
  static const std::vector<uint32_t> table = [] {
    std::vector<uint32_t> sums(256);
    for (uint32_t byte = 0; byte < 256; ++byte) {
      uint32_t sum = byte;
      for (int bit = 0; bit < 8; ++bit) sum = sum >> 1 ^ ((sum & 1) != 0 ? 0x82f63b78 : 0);
      sums[byte] = sum;
    }
    return sums;
  }();
  uint32_t sum = ~uint32_t{0};
  for (const char byte : bytes) sum = sum >> 8 ^ table[(sum ^ static_cast<uint8_t>(byte)) & 0xff];
  sum = ~sum;
  return (sum >> 15 | sum << 17) + 0xa282ead8;
}

std::string padded(std::string text) {
  text.resize((text.size() + 8) / 8 * 8);
  return text;
}

std::string segment(uint64_t base, uint32_t limit, uint32_t attributes, uint16_t selector) {
  return le(base) + le(limit) + le(attributes) + le(selector) + std::string(6, '\0');
}

constexpr uint64_t kList = 4, kEnd = 16, kMultifdFlush = 0x200;

}  // namespace

std::string big(uint64_t value, int bytes) {
  std::string text;
  for (int at = bytes - 1; at >= 0; --at) text += static_cast<char>(value >> (8 * at));
  return text;
}

// ---- LiME, AVML ----

std::string lime_range(uint64_t first, const std::string& bytes) {
  return "EMiL" + le<uint32_t>(1) + le(first) + le(first + bytes.size() - 1) + le<uint64_t>(0) + bytes;
}

std::string avml_header(uint64_t first, uint64_t size, uint32_t version) {
  return (version == 1 ? "EMiL" : "AVML") + le(version) + le(first) + le(first + size - 1) + le<uint64_t>(0);
}

std::string le24(size_t value) { return le(static_cast<uint32_t>(value)).substr(0, 3); }

std::string plain_chunk(const std::string& bytes) {
  return '\1' + le24(bytes.size() + 4) + le(masked_sum(bytes)) + bytes;
}

std::string repeated_chunk(char byte) {
  std::string data = "\x80\x20";  // 4096 as a varint
  data += std::string(1, '\0') + byte;
  for (int left = 4095; left > 0; left -= 64)
    data += static_cast<char>((std::min(left, 64) - 1) << 2 | 2) + std::string("\1\0", 2);
  return packed_chunk(std::string(4096, byte), data);
}

std::string packed_chunk(const std::string& bytes, const std::string& packed) {
  return '\0' + le24(packed.size() + 4) + le(masked_sum(bytes)) + packed;
}

std::string avml_range(uint64_t first, uint64_t size, const std::string& chunks) {
  const std::string stream = "\xff" + le24(6) + "sNaPpY" + chunks;
  return avml_header(first, size, 2) + stream + le<uint64_t>(stream.size());
}

// ---- VirtualBox ----

std::string libvirt_header(uint32_t compression, const char* magic) {
  const std::string xml =
      "<domain type='kvm'><name>web1</name><memory unit='KiB'>65536</memory></domain>" + std::string(512, '\0');
  return magic + le(uint32_t{2}) + le(static_cast<uint32_t>(xml.size())) + le(uint32_t{1}) + le(compression) +
         le(uint32_t{0}) + std::string(14 * 4, '\0') + xml;
}

std::string virtualbox_note(const std::string& name, uint32_t type, const std::string& content) {
  return le(static_cast<uint32_t>(name.size())) + le(static_cast<uint32_t>(content.size())) + le(type) + padded(name) +
         content;
}

std::string virtualbox_cpu(uint64_t first, uint32_t version) {
  std::string cpu;
  uint64_t next = first;
  for (int i = 0; i < 18; ++i) cpu += le(next++);
  for (uint16_t i = 0; i < 6; ++i) cpu += segment(next++, 0xffffffff, 0xa09b, static_cast<uint16_t>(8 * i));
  for (const uint64_t control : {uint64_t{0x80050033}, next, uint64_t{0x1234005}, uint64_t{0x6f0}}) cpu += le(control);
  for (int i = 0; i < 8; ++i) cpu += le(uint64_t{0xd0} + static_cast<uint64_t>(i));
  for (const uint64_t table : {0xfffffe0000001000, 0xfffffe0000000000}) cpu += le(table) + le(0xfffu) + le(0u);
  cpu += segment(0, 0, 0, 0) + segment(0xfffffe0000003000, 0x67, 0x8b, 0x40);
  for (int i = 0; i < 3; ++i) cpu += le(uint64_t{0x5e0} + static_cast<uint64_t>(i));
  for (int i = 0; i < 8; ++i) cpu += le(uint64_t{0x300} + static_cast<uint64_t>(i));
  if (version >= 0x10006) cpu += le(uint64_t{0x777});  // TSC_AUX
  cpu += le(uint64_t{7}) + le(uint64_t{0});
  if (version >= 0x10006) cpu += le(8192u) + le(0u);
  std::string extended(8192, '\0');
  const uint16_t status = 6 << 11;  // TOP is 6: two registers are in use, physical 6 and 7
  std::memcpy(extended.data(), "\x7f\x03", 2);
  std::memcpy(extended.data() + 2, &status, 2);
  extended[4] = static_cast<char>(0xc0);
  const uint64_t one = uint64_t{1} << 63, exponent = 0x3fff;
  std::memcpy(extended.data() + 32, &one, 8);
  std::memcpy(extended.data() + 40, &exponent, 8);
  extended.replace(160 + 16 * 3, 8, "xmm3 low");
  extended[512] = 7;
  extended.replace(576 + 16 * 15, 8, "ymm15 hi");
  return cpu + extended;
}

std::string virtualbox_core(uint32_t version, const std::string& cpus) {
  const std::string notes =
      virtualbox_note("VBCORE", 0xb00, le(0xc01ac0deu) + le(version) + le(24u) + le(0x70000u) + le(1u) + le(2u)) + cpus;
  const auto program_header = [](uint32_t type, uint64_t offset, uint64_t address, uint64_t size) {
    return le(type) + le(0u) + le(offset) + le(uint64_t{0}) + le(address) + le(size) + le(size) + le(uint64_t{0});
  };
  const uint64_t notes_at = 64 + 2 * 56;
  return std::string(
             "\x7f"
             "ELF\x02\x01\x00",
             7) +
         std::string(9, '\0') + le<uint16_t>(4) + le<uint16_t>(62) + le(1u) + le(uint64_t{0}) + le(uint64_t{64}) +
         le(uint64_t{0}) + le(0u) + le<uint16_t>(64) + le<uint16_t>(56) + le<uint16_t>(2) + le<uint16_t>(64) +
         le<uint16_t>(0) + le<uint16_t>(0) + program_header(4, notes_at, 0, notes.size()) +
         program_header(1, notes_at + notes.size(), 0, 4096) + notes + std::string(4096, 'a');
}

// ---- Xen ----

std::string xen_vcpu(uint64_t first, uint16_t cs, uint64_t flags) {
  std::string context(5168, '\0');
  const auto put = [&](size_t at, auto value) { std::memcpy(context.data() + at, &value, sizeof value); };
  put(512, flags);
  put(0, uint16_t{0x37f});
  put(24, 0x1f80u);
  for (size_t i = 0; i < 15; ++i) put(520 + 8 * i, first + i);
  put(520 + 128, uint64_t{0xffffffff81000100});
  put(520 + 136, cs);
  put(520 + 144, uint64_t{0x246});
  put(520 + 152, uint64_t{0xffffc90000003f00});
  put(520 + 160, uint16_t{0x18});
  for (const auto& [number, value] :
       std::initializer_list<std::pair<size_t, uint64_t>>{{0, 0x80050033}, {2, 0x7f00}, {3, 0x5003}, {4, 0x6f0}})
    put(4984 + 8 * number, value);
  put(5144, uint64_t{0x11});
  put(5152, uint64_t{0x22});
  put(5160, uint64_t{0x33});
  return context;
}

std::string xen_core(const std::string& numbers_name, const std::string& numbers, const std::string& pages,
                     const std::string& cpus, uint64_t said) {
  const std::string note = le(4u) + le(32u) + le(0x2000001u) + std::string("Xen\0", 4) + le(uint64_t{0xf00febee}) +
                           le(said) + le(pages.size() / 4096) + le(uint64_t{4096});
  const std::vector<std::pair<std::string, std::string>> contents{
      {"", ""}, {".note.Xen", note}, {".xen_prstatus", cpus}, {numbers_name, numbers}, {".xen_pages", pages}};
  std::string names, headers, data;
  const uint64_t data_at = 64 + 64 * (contents.size() + 1);
  const auto header = [&](const std::string& name, uint32_t type, const std::string& content) {
    headers += le(static_cast<uint32_t>(names.size())) + le(type) + le(uint64_t{0}) + le(uint64_t{0}) +
               le(data_at + data.size()) + le(uint64_t{content.size()}) + le(uint64_t{0}) + le(uint64_t{8}) +
               le(uint64_t{0});
    names += name + '\0';
    data += content;
  };
  for (const auto& [name, content] : contents) header(name, name.empty() ? 0 : 1, content);
  const std::string all_names = names + ".shstrtab" + '\0';
  header(".shstrtab", 3, all_names);
  return std::string(
             "\x7f"
             "ELF\x02\x01\x01",
             7) +
         std::string(9, '\0') + le<uint16_t>(4) + le<uint16_t>(62) + le(1u) + le(uint64_t{0}) + le(uint64_t{0}) +
         le(uint64_t{64}) + le(0u) + le<uint16_t>(64) + le<uint16_t>(56) + le<uint16_t>(0) + le<uint16_t>(64) +
         le(static_cast<uint16_t>(contents.size() + 1)) + le(static_cast<uint16_t>(contents.size())) + headers + data;
}

// ---- QEMU ----

std::string mapped_stream(const std::vector<bool>& present, const std::string& pages) {
  const auto name = [](const std::string& text) { return big(text.size(), 1) + text; };
  std::string head = "QEVM" + big(3, 4) + big(7, 1) + big(11, 4) + "pc-q35-10.0" + big(5, 1) +
                     name("configuration/capabilities") + big(1, 4) + big(1, 4) + name("mapped-ram") + big(1, 1) +
                     big(2, 4) + name("ram") + big(0, 4) + big(4, 4) + big(pages.size() | kList, 8) + name("pc.ram") +
                     big(pages.size(), 8);
  const uint64_t bitmap_at = head.size() + 28, pages_at = 1 << 20;
  head += big(1, 4) + big(4096, 8) + big(bitmap_at, 8) + big(pages_at, 8);
  std::string bitmap((present.size() + 63) / 64 * 8, '\0');
  for (size_t i = 0; i < present.size(); ++i)
    if (present[i]) bitmap[i / 8] = static_cast<char>(bitmap[i / 8] | 1 << (i % 8));
  head += bitmap;
  head.resize(pages_at);
  return head + pages + big(kEnd, 8) + big(0x7e, 1) + big(2, 4) + big(2, 1) + big(2, 4) + big(kMultifdFlush, 8) +
         big(kEnd, 8) + big(0x7e, 1) + big(2, 4) + big(0, 1) + big(6, 1) + big(15, 4) + "{\"devices\": []}";
}

}  // namespace gcore::tests
