// QEMU's migration streams, made here byte by byte. (Real ones: tests/dump/live_test.cc.)
#include "reader/dump/qemu_stream.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <map>

namespace gcore::tests {
namespace {

using reader::Error;
using reader::Expected;
using reader::SavedGuest;
using testing::HasSubstr;

std::string big(uint64_t value, int bytes) {
  std::string text;
  for (int at = bytes - 1; at >= 0; --at) text += static_cast<char>(value >> (8 * at));
  return text;
}
std::string u8(uint64_t value) { return big(value, 1); }
std::string u32(uint64_t value) { return big(value, 4); }
std::string u64(uint64_t value) { return big(value, 8); }
std::string name(const std::string& text) { return u8(text.size()) + text; }
std::string footer(uint32_t id) { return u8(0x7e) + u32(id); }

constexpr uint64_t kFill = 2, kList = 4, kPage = 8, kEnd = 16, kSame = 32;

const std::string kHead = "QEVM" + u32(3) + u8(7) + u32(10) + "pc-q35-7.2" + u8(5) +
                          name("configuration/target-page-bits") + u32(1) + u32(12);
const std::string kSetup = u8(1) + u32(2) + name("ram") + u32(0) + u32(4) + u64(0x5000 | kList) + name("pc.ram") +
                           u64(0x4000) + name("vga") + u64(0x1000) + u64(kEnd) + footer(2);
const std::string kPages = u8(2) + u32(2) + u64(0x1000 | kPage) + name("pc.ram") + std::string(4096, 'a') +
                           u64(0x2000 | kFill | kSame) + u8('b') + u64(0x0000 | kFill) + name("vga") + u8(0) +
                           u64(kEnd) + footer(2);
const std::string kLast = u8(3) + u32(2) + u64(0x3000 | kPage) + name("pc.ram") + std::string(4096, 'c') +
                          u64(0x1000 | kPage | kSame) + std::string(4096, 'd') + u64(kEnd) + footer(2);
const std::string kCpu = u8(4) + u32(5) + name("cpu") + u32(1) + u32(12) + u64(0x11) + u64(0x22) + u32(7) + u32(0x33) +
                         u8(5) + name("cpu/more") + u32(1) + u64(0x44) + footer(5);
const std::string kDescription =
    R"({"page_size": 4096, "devices": [{"name": "cpu", "instance_id": 1, "vmsd_name": "cpu", "version": 12, "fields": [
      {"name": "env.regs", "array_len": 2, "type": "uint64", "size": 8},
      {"name": "env.seg", "type": "struct", "struct": {"vmsd_name": "s", "version": 1, "fields": [
         {"name": "selector", "type": "uint32", "size": 4}, {"name": "base", "type": "uint32", "size": 4}]}, "size": 8}],
      "subsections": [{"vmsd_name": "cpu/more", "version": 1, "fields": [
         {"name": "env.xcr0", "type": "uint64", "size": 8}]}]}]})";

std::string end_with(std::string_view description) {
  return u8(0) + u8(6) + u32(description.size()) + std::string(description);
}
/// What QEMU 10 says to who receives the guest, and another one with bytes.
const std::string kCommands = u8(8) + big(11, 2) + big(0, 2) + u8(8) + big(3, 2) + big(5, 2) + "bytes";
const std::string kWhole = kHead + kSetup + kPages + kCommands + kLast + kCpu + end_with(kDescription);

/// Memory as a map of pages.
class Pages final : public reader::StreamMemory {
 public:
  Expected<void> begin(std::span<const reader::StreamBlock> blocks) override {
    count = blocks.size();
    return {};
  }
  Expected<void> page(size_t block, uint64_t offset, std::span<const std::byte> bytes, uint64_t place) override {
    places[{block, offset}] = place;
    if (fails) return std::unexpected(Error{Error::Kind::io, "no room"});
    at[{block, offset}] = std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    return {};
  }
  Expected<void> fill(size_t block, uint64_t offset, std::byte value) override {
    at[{block, offset}] = std::string(4096, static_cast<char>(value));
    return {};
  }
  std::map<std::pair<size_t, uint64_t>, std::string> at;
  std::map<std::pair<size_t, uint64_t>, uint64_t> places;
  size_t count = 0;
  bool fails = false;
};

Expected<SavedGuest> read(const std::string& stream, Pages& pages, size_t piece = 1000) {
  size_t at = 0;
  SavedGuest guest;
  const auto read_more = [&](std::span<std::byte> to) -> Expected<size_t> {
    const size_t size = std::min({to.size(), piece, stream.size() - at});
    std::memcpy(to.data(), stream.data() + at, size);
    at += size;
    return size;
  };
  const auto done = reader::read_qemu_stream({read_more}, pages, guest);
  if (!done) return std::unexpected(done.error());
  return guest;
}

TEST(QemuStream, IsTakenApartInWhateverPiecesItComes) {
  for (const size_t piece : {1, 7, 4096, 1 << 20}) {
    Pages pages;
    const auto guest = read(kWhole, pages, piece);
    ASSERT_TRUE(guest) << guest.error().text;
    EXPECT_EQ(guest->machine, "pc-q35-7.2");
    ASSERT_EQ(guest->blocks.size(), 2u);
    EXPECT_EQ(guest->blocks[1].name, "vga");
    EXPECT_EQ(guest->blocks[0].size, 0x4000u);
    ASSERT_EQ(pages.at.size(), 4u);
    EXPECT_EQ((pages.at[{0, 0x1000}]), std::string(4096, 'd'));  // the last one counts
    EXPECT_EQ((pages.at[{0, 0x2000}]), std::string(4096, 'b'));
    EXPECT_EQ((pages.at[{0, 0x3000}]), std::string(4096, 'c'));
    EXPECT_EQ((pages.at[{1, 0}]), std::string(4096, '\0'));
    for (const auto& [page, place] : pages.places) EXPECT_EQ(kWhole.substr(place, 4096), pages.at[page]);
    ASSERT_EQ(guest->devices.size(), 1u);
    const auto& cpu = guest->devices[0];
    EXPECT_EQ(cpu.instance, 1u);
    EXPECT_EQ(cpu.version, 12u);
    for (const auto& [path, value] : std::map<std::string, uint64_t>{{"env.regs[0]", 0x11},
                                                                     {"env.regs[1]", 0x22},
                                                                     {"env.seg.selector", 7},
                                                                     {"env.seg.base", 0x33},
                                                                     {"cpu/more:env.xcr0", 0x44}}) {
      ASSERT_TRUE(cpu.find(path)) << path;
      EXPECT_EQ(cpu.find(path)->number(), value) << path;
    }
  }
}

TEST(QemuStream, CutAnywhereIsAnError) {
  for (size_t size = 0; size < kWhole.size(); size += size < 300 || size + 700 > kWhole.size() ? 1 : 97) {
    Pages pages;
    const auto guest = read(kWhole.substr(0, size), pages);
    ASSERT_FALSE(guest) << size;
    EXPECT_FALSE(guest.error().text.empty());
  }
}

TEST(QemuStream, WhatItDoesNotReadIsNamed) {
  const auto error = [](const std::string& stream) {
    Pages pages;
    const auto guest = read(stream, pages);
    return guest ? "" : guest.error().text;
  };
  EXPECT_THAT(error("LibvirtQemudSave"), HasSubstr("it does not start with QEVM"));
  EXPECT_THAT(error("QEVM" + u32(2)), HasSubstr("its version is 2, not 3"));
  EXPECT_THAT(error(kHead + u8(5) + name("configuration/new") + u32(1)), HasSubstr("\"configuration/new\""));
  EXPECT_THAT(error(kHead + u8(1) + u32(3) + name("block") + u32(0) + u32(1)),
              HasSubstr("it has \"block\", version 1"));
  EXPECT_THAT(error(kHead + kSetup + u8(2) + u32(2) + u64(0x1000 | 0x40)), HasSubstr("flags 0x40"));
  EXPECT_THAT(error(kHead + kSetup + u8(2) + u32(2) + u64(0x9000 | kFill) + name("pc.ram") + u8(1)),
              HasSubstr("beyond"));
  EXPECT_THAT(error(kHead + kSetup + u8(2) + u32(2) + u64(kFill) + name("other") + u8(1)),
              HasSubstr("not in the list"));
  EXPECT_THAT(error(kHead + kSetup + u8(2) + u32(2) + u64(kFill | kSame) + u8(1)), HasSubstr("beyond its block"));
  EXPECT_THAT(error(kHead + kSetup + kLast + kCpu + end_with("{}")), HasSubstr("lists no devices"));
  EXPECT_THAT(error(kHead + kSetup + kLast + kCpu + u8(0)), HasSubstr("no description of its devices"));
}

TEST(QemuStream, ADescriptionThatDoesNotFitIsAnError) {
  for (const auto& [from, to] : std::map<std::string, std::string>{{"\"array_len\": 2", "\"array_len\": 1000000"},
                                                                   {"\"array_len\": 2", "\"array_len\": -1"},
                                                                   {"\"size\": 8}", "\"size\": 9999999999}"},
                                                                   {"\"instance_id\": 1", "\"instance_id\": 2"},
                                                                   {"cpu/more", "cpu/less"}}) {
    std::string changed = kDescription;
    changed.replace(changed.find(from), from.size(), to);
    Pages pages;
    const auto guest = read(kHead + kSetup + kLast + kCpu + end_with(changed), pages);
    ASSERT_FALSE(guest) << to;
    EXPECT_THAT(guest.error().text, HasSubstr("cannot take the saved guest's devices apart"));
  }
}

TEST(QemuStream, AnErrorOfWhereMemoryGoesEndsIt) {
  Pages pages;
  pages.fails = true;
  const auto guest = read(kWhole, pages);
  ASSERT_FALSE(guest);
  EXPECT_THAT(guest.error().text, HasSubstr("no room"));
}

}  // namespace
}  // namespace gcore::tests
