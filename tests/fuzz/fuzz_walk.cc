// Page walks over hostile registers and memory: walk, translate, read and list have to end, and to agree.
//
// Input: one byte of choices, then 8-byte little-endian registers, then memory from physical address 0 on. Bits of the
// choices: 0-1 machine (x86_64, x86, aarch64, aarch64 with a valid TCR); 2 memory repeats for ever (else it ends); 3-7
// which registers are absent.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <span>
#include <vector>

#include "reader/translate/translator.h"

namespace {

using namespace gcore::translate;  // NOLINT: a program of one file

constexpr size_t kRegisters = 6;

struct Input {
  uint8_t choices = 0;
  std::array<uint64_t, kRegisters> registers{};
  std::span<const std::byte> memory;

  std::optional<uint64_t> reg(size_t index) const {
    return index < 5 && (choices >> (3 + index) & 1) != 0 ? std::nullopt : std::optional(registers[index]);
  }
};

void require(bool condition) {
  if (!condition) std::abort();
}

gcore::reader::Expected<Paging> paging_of(const Input& input) {
  const unsigned machine = input.choices & 3;
  if (machine < 2) {
    X86Registers registers;
    registers.machine_64bit = machine == 0;
    registers.cr0 = input.reg(0);
    registers.cr3 = input.reg(1);
    registers.cr4 = input.reg(2);
    registers.efer = input.reg(3);
    registers.page_table = input.reg(4);
    registers.encryption_mask = input.registers[5];
    return x86_paging(registers);
  }
  Aarch64Registers registers;
  registers.sctlr = input.reg(0);
  registers.tcr = input.reg(1);
  registers.ttbr0 = input.reg(2);
  registers.ttbr1 = input.reg(3);
  registers.id_aa64mmfr0 = input.reg(4);
  if (machine == 3 && registers.tcr) {  // sizes that exist, so that walks happen
    constexpr uint64_t kSizes = 0x3f | 0x3f << 16;
    registers.tcr =
        (*registers.tcr & ~kSizes) | (12 + (*registers.tcr & 0x1f)) | (12 + (*registers.tcr >> 16 & 0x1f)) << 16;
  }
  if ((input.registers[5] & 1) != 0) {  // the same in EL2
    registers.pstate = 0x3c9;
    registers.hcr_el2 = (input.registers[5] & 2) != 0 ? uint64_t{1} << 34 : 0;
    registers.sctlr_el2 = registers.sctlr;
    registers.tcr_el2 = registers.tcr;
    registers.ttbr0_el2 = registers.ttbr0;
    registers.ttbr1_el2 = registers.ttbr1;
  }
  return aarch64_paging(registers);
}

ReadPhysical memory_of(const Input& input) {
  const bool repeats = (input.choices & 4) != 0 && !input.memory.empty();
  return [memory = input.memory, repeats](PhysAddr address, std::span<std::byte> into) {
    size_t done = 0;
    while (done < into.size()) {
      uint64_t at = address.value + done;
      if (repeats) at %= memory.size();
      if (at >= memory.size()) return gcore::reader::ReadResult{done, gcore::reader::Missing::not_in_any_segment};
      const size_t count = std::min<uint64_t>(into.size() - done, memory.size() - at);
      std::memcpy(&into[done], &memory[at], count);
      done += count;
    }
    return gcore::reader::ReadResult{done, gcore::reader::Missing::none};
  };
}

bool is_same_page(const Translation& a, const Translation& b) {
  return a.address == b.address && a.page_size == b.page_size && a.permissions == b.permissions;
}

/// Whether the last byte that is said to follow on contiguously does, however one asks.
void check_run(const Translator& translator, VirtAddr address, const Translation& run) {
  require(run.contiguous >= 1 && run.contiguous - 1 <= UINT64_MAX - address.value);
  const uint64_t distance = run.contiguous - 1;
  const VirtAddr last = address + distance;
  const auto got = translator.translate(last);
  const Walk walk = translator.walk(last);
  require(got.has_value() && walk.result.has_value() && is_same_page(*got, *walk.result));
  require(got->address == run.address + distance && got->permissions == run.permissions);
}

void check_address(const Translator& translator, VirtAddr address) {
  const auto got = translator.translate(address);
  const Walk walk = translator.walk(address);
  require(got.has_value() == walk.result.has_value());
  require(walk.steps.size() <= 5);
  std::array<std::byte, 10000> buffer;
  const auto read = translator.read(address, buffer);
  require(read.bytes <= buffer.size());
  require((read.bytes == buffer.size()) == read.why.empty());
  if (!got) {
    require(!got.error().text.empty() && got.error().text == walk.result.error().text);
    require(read.bytes == 0 && read.unmapped);
    return;
  }
  // The walk asks for all that follows on contiguously, translate() for one byte.
  require(is_same_page(*got, *walk.result) && got->contiguous <= walk.result->contiguous);
  check_run(translator, address, *got);
  check_run(translator, address, *walk.result);
  require(translator.translate(address).value() == *got);  // from the cache
}

void check_listing(const Translator& translator) {
  std::optional<Mapping> last;
  size_t count = 0;
  const Limits limits{.table_visits = 300, .visits_per_table = 3};
  const Listing listing = translator.enumerate(
      [&](const Mapping& mapping) {
        require(mapping.size != 0);
        if (last)
          require(mapping.start.value > last->start.value && mapping.start.value - last->start.value >= last->size);
        last = mapping;
        if (++count % 16 == 1) {  // a few of them, as they are many
          const auto got = translator.translate(mapping.start);
          require(got.has_value() && got->address == mapping.physical && got->page_size == mapping.page_size &&
                  got->permissions == mapping.permissions);
        }
        return count < 5000;
      },
      limits);
  require(listing.table_visits <= limits.table_visits);
  require(count < 5000 || listing.stopped);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Input input;
  constexpr size_t kHeader = 1 + 8 * kRegisters;
  if (size < kHeader) return -1;
  input.choices = data[0];
  std::memcpy(input.registers.data(), data + 1, 8 * kRegisters);
  const auto bytes = std::as_bytes(std::span(data, size));
  input.memory = bytes.subspan(kHeader);
  auto paging = paging_of(input);
  if (!paging) {
    require(!paging.error().text.empty());
    return 0;
  }
  const Translator translator(*std::move(paging), memory_of(input));
  // Addresses that are likely to be mapped, and what the memory itself has as addresses.
  std::vector<uint64_t> addresses = {
      0, 0x1000, 0x7ffffffff000, 0xffff800000000000, 0xffffffffffffffff, input.registers[5]};
  for (size_t at = 0; at + 8 <= input.memory.size() && addresses.size() < 16; at += 8) {
    uint64_t value;
    std::memcpy(&value, &input.memory[at], 8);
    addresses.push_back(value);
  }
  for (uint64_t address : addresses) check_address(translator, translator.without_tag(VirtAddr(address)));
  check_listing(translator);
  return 0;
}
