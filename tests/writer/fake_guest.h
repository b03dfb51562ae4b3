// A guest made of a memfd or of plain memory, and a view of the dump file by raw offsets.
#pragma once

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "tests/support/temp_dir.h"
#include "writer/dump.h"

namespace gcore::tests {

inline constexpr uint64_t kPage = 4096;

/// Two ranges of memory, at 0 and at 4 GiB, one after the other in one backing. Fails the test when pause() and
/// resume() do not come in pairs.
class FakeGuest : public writer::Guest {
 public:
  enum class Backing { memfd, memfd_without_mapping, host, callback };

  explicit FakeGuest(uint64_t pages = 64, Backing backing = Backing::memfd) : size(pages * kPage), backing_(backing) {
    fd = memfd_create("guest", MFD_CLOEXEC);
    EXPECT_EQ(ftruncate(fd, static_cast<off_t>(size)), 0);
    host = static_cast<char*>(mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
    EXPECT_NE(host, MAP_FAILED);
  }
  ~FakeGuest() override {
    EXPECT_EQ(pauses, resumes);
    EXPECT_FALSE(paused);
    munmap(host, size);
    close(fd);
  }

  std::string_view name() override { return vm_name; }
  format::Machine machine() override { return machine_kind; }
  writer::Status pause() override {
    EXPECT_FALSE(paused);
    if (!pause_error.empty()) return writer::Status(pause_error);
    paused = true;
    ++pauses;
    return {};
  }
  void resume() override {
    EXPECT_TRUE(paused);
    paused = false;
    ++resumes;
  }
  size_t cpu_count() override { return cpus; }
  bool read_cpu(size_t index, format::RegisterFile& registers) override {
    EXPECT_TRUE(paused);
    if (on_read_cpu) return on_read_cpu(index, registers);
    registers.put(machine_kind == format::Machine::aarch64 ? "elr" : "rip", 0x1000 + index);
    return true;
  }
  std::vector<writer::MemoryRange> memory() override {
    EXPECT_TRUE(paused || any_time);
    if (!ranges.empty()) return ranges;
    const uint64_t half = size / 2 / kPage * kPage;
    return {range(kHigh, half, size - half), range(0, 0, half)};  // not sorted: the writer does that
  }
  size_t read_memory(uint64_t address, void* to, size_t bytes) override {
    EXPECT_TRUE(paused);
    const uint64_t at = address >= kHigh ? address - kHigh + size / 2 / kPage * kPage : address;
    if (on_read_memory) on_read_memory(address);
    if (at >= unreadable_from) return 0;
    bytes = std::min<uint64_t>(bytes, unreadable_from - at);
    std::memcpy(to, host + at, bytes);
    return bytes;
  }
  std::string_view process_name(size_t) override { return process; }
  std::string_view vmcoreinfo() override { return vmcoreinfo_text; }

  writer::MemoryRange range(uint64_t address, uint64_t offset, uint64_t bytes) const {
    writer::MemoryRange result{address, bytes, nullptr, -1, offset};
    if (backing_ == Backing::memfd || backing_ == Backing::host) result.host = host + offset;
    if (backing_ == Backing::memfd || backing_ == Backing::memfd_without_mapping) result.fd = fd;
    return result;
  }
  void fill(uint64_t page, char value, uint64_t count = 1) { std::memset(host + page * kPage, value, count * kPage); }

  static constexpr uint64_t kHigh = 0x100000000;
  uint64_t size;
  int fd = -1;
  char* host = nullptr;
  std::string vm_name = "qnx7", process, vmcoreinfo_text, pause_error;
  format::Machine machine_kind = format::Machine::x86_64;
  size_t cpus = 2;
  bool any_time = false;  // memory() may be called while it runs, as live dumps do
  std::function<bool(size_t, format::RegisterFile&)> on_read_cpu;
  std::function<void(uint64_t)> on_read_memory;
  std::vector<writer::MemoryRange> ranges;
  uint64_t unreadable_from = UINT64_MAX;
  std::atomic<int> pauses{0}, resumes{0};
  std::atomic<bool> paused{false};

 private:
  Backing backing_;
};

/// Numbers at offsets of a dump file's bytes. Little-endian, as the format says and this host is.
class DumpBytes {
 public:
  explicit DumpBytes(std::string bytes) : bytes_(std::move(bytes)) {}
  uint8_t u8(uint64_t at) const { return load<uint8_t>(at); }
  uint16_t u16(uint64_t at) const { return load<uint16_t>(at); }
  uint32_t u32(uint64_t at) const { return load<uint32_t>(at); }
  uint64_t u64(uint64_t at) const { return load<uint64_t>(at); }
  std::string text(uint64_t at, uint64_t size) const { return bytes_.substr(at, size); }
  std::string c_string(uint64_t at) const { return bytes_.substr(at, bytes_.find('\0', at) - at); }
  uint64_t size() const { return bytes_.size(); }

  /// The program header with this index, as field offsets within the file.
  uint64_t phdr(unsigned index) const { return u64(32) + 56 * index; }
  uint64_t p_offset(unsigned index) const { return u64(phdr(index) + 8); }
  uint64_t p_filesz(unsigned index) const { return u64(phdr(index) + 32); }
  /// The contents of .gcore.info, without its padding.
  std::string info() const {
    const uint64_t sections = u64(40), names = u64(sections + 64 * u16(62) + 24);
    for (unsigned i = 0; i < u16(60); ++i) {
      const uint64_t at = sections + 64 * i;
      if (c_string(names + u32(at)) != ".gcore.info") continue;
      const std::string padded = text(u64(at + 24), u64(at + 32));
      return padded.substr(0, padded.find_last_not_of(" \n") + 1);
    }
    return {};
  }

 private:
  template <class T>
  T load(uint64_t at) const {
    T value{};
    EXPECT_LE(at + sizeof value, bytes_.size());
    if (at + sizeof value <= bytes_.size()) std::memcpy(&value, bytes_.data() + at, sizeof value);
    return value;
  }
  std::string bytes_;
};

/// Takes a dump into `directory` and returns its bytes; the test fails when the dump does.
inline DumpBytes dump_bytes(writer::Guest& guest, const TempDir& directory, writer::Options options = {},
                            const writer::Reason& reason = {}) {
  options.target = directory.path();
  const writer::Result result = writer::dump(guest, options, reason);
  EXPECT_TRUE(result.status.ok()) << result.status.text();
  DumpBytes bytes(result.path.empty() ? std::string() : read_file(result.path));
  EXPECT_EQ(result.bytes, bytes.size());
  return bytes;
}

}  // namespace gcore::tests
