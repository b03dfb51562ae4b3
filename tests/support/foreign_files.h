// Files of other makers with a guest's memory, made byte by byte from their formats' public descriptions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace gcore::tests {

template <typename T>
std::string le(T value) {
  return {reinterpret_cast<const char*>(&value), sizeof value};
}
std::string big(uint64_t value, int bytes);

/// A range of LiME's, with its bytes.
std::string lime_range(uint64_t first, const std::string& bytes);

/// AVML's header of `size` bytes of memory without anything after it, of version 1 (LiME's magic) or 2.
std::string avml_header(uint64_t first, uint64_t size, uint32_t version);
/// A range of AVML's version 2: the header, snappy's stream of `chunks`, and the stream's size.
std::string avml_range(uint64_t first, uint64_t size, const std::string& chunks);
std::string le24(size_t value);
std::string plain_chunk(const std::string& bytes);
/// Of bytes that are packed already, in snappy's block format.
std::string packed_chunk(const std::string& bytes, const std::string& packed);
/// A page of one byte: a literal of it, and copies of what came before.
std::string repeated_chunk(char byte);

/// The start of libvirt's file of a saved domain, web1, whose stream is compressed by the program of this number.
std::string libvirt_header(uint32_t compression, const char* magic = "LibvirtQemudSave");

/// Without the NUL in the size of its name.
std::string virtualbox_note(const std::string& name, uint32_t type, const std::string& content);
/// DBGFCORECPU of a vCPU whose registers are numbered from `first` on.
std::string virtualbox_cpu(uint64_t first, uint32_t version);
/// A page of 'a' at 0, and the notes `cpus` of vCPUs.
std::string virtualbox_core(uint32_t version, const std::string& cpus);

/// Bits of vcpu_guest_context's flags: VGCF_i387_valid, VGCF_in_kernel.
inline constexpr uint64_t kXenFpu = 1, kXenInKernel = 4;
/// vcpu_guest_context of x86_64. gs_base_kernel is 0x22, gs_base_user 0x33.
std::string xen_vcpu(uint64_t first, uint16_t cs = 0x10, uint64_t flags = kXenFpu);
/// Sections, and no program headers: `numbers` (.xen_pfn or .xen_p2m) of `pages`, and .xen_prstatus of `cpus`.
/// .note.Xen says that there are `said` vCPUs.
std::string xen_core(const std::string& numbers_name, const std::string& numbers, const std::string& pages,
                     const std::string& cpus, uint64_t said);

/// QEMU's stream (mapped-ram) of a machine whose memory has `pages`, of which the bitmap has those in `present`. It has
/// no device.
std::string mapped_stream(const std::vector<bool>& present, const std::string& pages);

}  // namespace gcore::tests
