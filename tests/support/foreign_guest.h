// A guest's memory and registers, taken from QEMU's own dump of it, in files of other makers. What these look like is
// written here by their public descriptions (LiME's and AVML's READMEs and sources, xen's dump-core-format.txt and
// arch-x86/xen.h, VirtualBox's dbgfcorefmt.h), and shares nothing with the reader.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace gcore::tests {

/// QEMU's dump-guest-memory of a guest whose RAM is one piece.
class ForeignGuest {
 public:
  /// Throws what goes wrong.
  explicit ForeignGuest(const std::string& qemu_dump);
  ~ForeignGuest();
  ForeignGuest(const ForeignGuest&) = delete;
  ForeignGuest& operator=(const ForeignGuest&) = delete;

  uint64_t ram_address() const { return ram_address_; }

  // Each writes a file. Pages of zeros are holes in it.
  void write_lime(const std::string& path) const;
  /// `version` 1: in blocks of 16 MiB, of those that are zero the header alone. 2: compressed.
  void write_avml(const std::string& path, int version) const;
  /// The RAM from `from` on, an offset in it.
  void write_raw(const std::string& path, uint64_t from = 0) const;
  // x86_64 alone; with the vCPUs' registers.
  void write_xen(const std::string& path) const;
  void write_virtualbox(const std::string& path) const;

 private:
  using Registers = std::map<std::string, uint64_t, std::less<>>;
  struct Range {
    uint64_t address;
    std::string_view bytes;
  };

  void read_qemu_notes(std::string_view notes);
  /// As the firmware's map tells a kernel: of a PC without the hole below 1 MiB.
  std::vector<Range> ranges() const;

  int fd_ = -1;
  std::string_view file_, ram_;
  uint64_t ram_address_ = 0;
  bool is_x86_ = false;
  std::vector<Registers> cpus_;
};

}  // namespace gcore::tests
