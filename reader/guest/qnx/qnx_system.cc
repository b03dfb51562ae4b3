#include "reader/guest/qnx/qnx_system.h"

#include <fmt/format.h>

#include <array>
#include <cstring>

#include "writer/format/endian.h"
#include "writer/format/machine.h"

namespace gcore::reader {

std::string qnx_system_page(const Dump& dump) {
  const auto& facts = dump.kdump_facts();
  if (!facts || !facts->syspage) return "";
  const Segment& segment = *facts->syspage;
  std::array<std::byte, 8> head;
  if (dump.read(segment.address, head).bytes != head.size()) return "";
  const auto field = [&](size_t at) { return format::load<uint16_t>(&head[at], dump.byte_order()); };
  const uint16_t size = field(0), total = field(2), type = field(4), cpus = field(6);
  const uint16_t expected = format::machine_info(dump.machine()).system_page_type;
  constexpr uint16_t kSmallest = 16, kMostCpus = 1024;
  if (type != expected || size < kSmallest || total < size || total > segment.memory_size) return "";
  if (cpus == 0 || cpus > kMostCpus) return "";
  return fmt::format("QNX by its system page at {:#x} ({} bytes, {} CPU{}), which the kdump note names",
                     segment.address.value, total, cpus, cpus == 1 ? "" : "s");
}

std::string qnx_image_at(const Dump& dump, PhysAddr address, std::span<const std::byte> head) {
  constexpr size_t kHead = 24, kSignature = 7;
  if (head.size() < kHead || std::memcmp(head.data(), "imagefs", kSignature) != 0) return "";
  const auto flags = std::to_integer<unsigned>(head[kSignature]);
  const auto order = (flags & 1) != 0 ? format::ByteOrder::big : format::ByteOrder::little;  // IMAGE_FLAGS_BIGENDIAN
  const auto field = [&](size_t at) { return format::load<uint32_t>(&head[at], order); };
  const uint32_t size = field(8), directory_end = field(12), directory = field(16);
  constexpr uint32_t kHeader = 88;  // up to the mount point
  if (directory < kHeader || directory > directory_end || directory_end > size) return "";
  std::byte last;
  if (dump.read(address + (size - 1), std::span(&last, 1)).bytes != 1) return "";
  return fmt::format("QNX by its image file system at {:#x} ({} bytes)", address.value, size);
}

}  // namespace gcore::reader
