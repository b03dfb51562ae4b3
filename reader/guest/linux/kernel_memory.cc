#include "reader/guest/linux/kernel_memory.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <mutex>
#include <utility>

#include "reader/guest/linux/machine.h"
#include "writer/format/endian.h"

namespace gcore::reader::linux_guest {
namespace {

constexpr size_t kPage = 4096;       // of the cache: no machine has smaller ones
constexpr size_t kSlots = 4096;      // 16 MiB at most
constexpr size_t kStripes = 64;      // locks: a slot belongs to one of them
constexpr size_t kLarge = 16 << 10;  // reads from that size on go past the cache

}  // namespace

/// A page stands in the one slot that its address selects. A page that cannot be read as a whole is not kept: what
/// there is of it is read each time.
struct KernelMemory::State {
  struct Slot {
    uint64_t page = 1;  // address of its first byte; 1: none
    bool whole = false;
    std::unique_ptr<std::array<std::byte, kPage>> bytes;
  };

  State(const Dump& d, AddressSpace s) : dump(d), space(std::move(s)) {}

  /// Of one page; returns how many bytes were there.
  size_t read_in_page(VirtAddr address, std::span<std::byte> into) {
    const uint64_t page = address.value & ~uint64_t{kPage - 1};
    const size_t index = (page / kPage ^ page / kPage / kSlots) % kSlots;
    {
      const std::scoped_lock lock(locks[index % kStripes]);
      Slot& slot = slots[index];
      if (slot.page != page) {
        if (!slot.bytes) slot.bytes = std::make_unique<std::array<std::byte, kPage>>();
        slot.whole = space.read(VirtAddr(page), *slot.bytes).bytes == kPage;
        slot.page = page;
      }
      if (slot.whole) {
        std::memcpy(into.data(), slot.bytes->data() + (address.value - page), into.size());
        return into.size();
      }
    }
    return space.read(address, into).bytes;
  }

  const Dump& dump;
  AddressSpace space;
  const LinuxMachine& machine = linux_machine(dump.machine());
  std::array<std::mutex, kStripes> locks;
  std::array<Slot, kSlots> slots;
};

KernelMemory::KernelMemory(const Dump& dump, AddressSpace space)
    : state_(std::make_unique<State>(dump, std::move(space))) {}
KernelMemory::KernelMemory(KernelMemory&&) noexcept = default;
KernelMemory& KernelMemory::operator=(KernelMemory&&) noexcept = default;
KernelMemory::~KernelMemory() = default;

const Dump& KernelMemory::dump() const { return state_->dump; }
const AddressSpace& KernelMemory::space() const { return state_->space; }
format::Machine KernelMemory::machine() const { return state_->dump.machine(); }

size_t KernelMemory::read(VirtAddr address, std::span<std::byte> into) const {
  if (into.size() >= kLarge) return state_->space.read(address, into).bytes;
  address = state_->space.without_tag(address);
  size_t done = 0;
  while (done < into.size()) {
    const VirtAddr at = address + done;
    const size_t size = std::min<size_t>(into.size() - done, kPage - at.value % kPage);
    const size_t got = state_->read_in_page(at, into.subspan(done, size));
    done += got;
    if (got < size || (at + size).value == 0) break;
  }
  return done;
}

bool KernelMemory::read_exactly(VirtAddr address, std::span<std::byte> into) const {
  return read(address, into) == into.size();
}

std::optional<uint64_t> KernelMemory::number(VirtAddr address, size_t size) const {
  std::array<std::byte, 8> bytes{};
  if (size == 0 || size > bytes.size()) return std::nullopt;
  const bool little = state_->dump.byte_order() == format::ByteOrder::little;
  if (!read_exactly(address, std::span(bytes).subspan(little ? 0 : 8 - size, size))) return std::nullopt;
  return format::load<uint64_t>(bytes.data(), state_->dump.byte_order());
}

std::optional<uint8_t> KernelMemory::u8(VirtAddr address) const {
  return number(address, 1).transform([](uint64_t value) { return static_cast<uint8_t>(value); });
}
std::optional<uint16_t> KernelMemory::u16(VirtAddr address) const {
  return number(address, 2).transform([](uint64_t value) { return static_cast<uint16_t>(value); });
}
std::optional<uint32_t> KernelMemory::u32(VirtAddr address) const {
  return number(address, 4).transform([](uint64_t value) { return static_cast<uint32_t>(value); });
}
std::optional<uint64_t> KernelMemory::u64(VirtAddr address) const { return number(address, 8); }

std::optional<VirtAddr> KernelMemory::pointer(VirtAddr address) const {
  return number(address, 8).transform([](uint64_t value) { return VirtAddr(value); });
}

std::optional<std::string> KernelMemory::text(VirtAddr address, size_t max) const {
  std::string text;
  while (text.size() < max) {
    std::array<std::byte, 64> piece;
    const size_t got = read(address + text.size(), std::span(piece).first(std::min(piece.size(), max - text.size())));
    if (got == 0) {
      if (text.empty()) return std::nullopt;
      break;
    }
    const auto* chars = reinterpret_cast<const char*>(piece.data());
    const size_t length = strnlen(chars, got);
    text.append(chars, length);
    if (length < got) break;
  }
  return text;
}

bool KernelMemory::is_kernel_address(VirtAddr address) const {
  const unsigned bit = state_->machine.kernel_bits_from;
  return state_->space.without_tag(address).value >> bit == UINT64_MAX >> bit;
}

}  // namespace gcore::reader::linux_guest
