// Which operating system runs in the guest of a dump, and what is known of its kernel: from the dump's notes, and from
// guest memory alone where they say nothing. Guest (guest.h) looks for it and keeps it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "reader/address.h"
#include "reader/translate/paging.h"

namespace gcore::reader {

/// Everything but `kind` may be absent. Texts come from guest memory: they may hold anything, control characters too.
struct GuestSystem {
  enum class Kind : uint8_t { unknown, linux_kernel, qnx };
  Kind kind = Kind::unknown;

  std::string release;  // Linux: "6.1.0-13-amd64", as uname -r says
  std::string banner;   // Linux: "Linux version 6.1.0-13-amd64 (...) #1 SMP ...", without the line's end

  /// Where the first byte of the kernel's image is, and of Linux the symbol that is there: _text, or (aarch64) _stext,
  /// where the image is mapped from.
  std::optional<VirtAddr> image_address{};
  std::string image_symbol{};
  std::optional<PhysAddr> image_physical{};

  /// By how much the running kernel is displaced from the addresses of its ELF file (KASLR), modulo 2^64; 0 when it was
  /// not moved; nothing when that is not known. VMCOREINFO has it; without one it is known of x86_64, whose kernels
  /// are all linked to one address. aarch64's depends on the version and on CONFIG_ARM64_VA_BITS: whoever has the ELF
  /// file takes image_address less its _stext.
  std::optional<uint64_t> kaslr_offset{};

  /// Linux, 64 bits: the kernel has guest-physical memory P at the virtual address P + page_offset, modulo 2^64 (its
  /// direct map). x86_64: PAGE_OFFSET, as KASLR moved it; aarch64: PAGE_OFFSET - PHYS_OFFSET.
  std::optional<uint64_t> page_offset{};

  /// Linux: bytes of the kernel's smallest page.
  std::optional<uint64_t> page_size{};

  /// Linux: the text of VMCOREINFO, and where it was found: in a note of the dump, or in guest memory at
  /// `vmcoreinfo_address`.
  enum class Source : uint8_t { none, note, memory };
  std::string vmcoreinfo{};
  Source vmcoreinfo_source = Source::none;
  std::optional<PhysAddr> vmcoreinfo_address{};

  /// How the kernel's own page tables translate its half of the address space, with their root. Where the vCPUs'
  /// registers do not say it, AddressSpace uses this, and says `kernel_paging_source`: "VMCOREINFO, found in guest
  /// memory at 0x272200c (the kernel's)".
  std::optional<translate::Paging> kernel_paging{};
  std::string kernel_paging_source{};

  /// One sentence each, without a full stop: how the facts were learnt, and what was not looked at.
  std::vector<std::string> notes{};

  /// The note that says that the VMCOREINFO in the dump's notes is wrong about the kernel in memory, or empty.
  std::string contradiction{};
};

/// "unknown", "linux", "qnx".
const char* to_string(GuestSystem::Kind kind);

/// How much of memory may be read. `quick` looks where kernels are, through the vCPUs' page tables, and then at a part
/// of memory, for some tens of milliseconds at most; `thorough` at all of memory if it must.
enum class GuestSearch : uint8_t { quick, thorough };

}  // namespace gcore::reader
