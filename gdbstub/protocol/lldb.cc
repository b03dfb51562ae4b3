// Packets of LLDB's dialect, without which it guesses the architecture and the layout of memory.
#include <fmt/format.h>

#include "gdbstub/protocol/client.h"
#include "gdbstub/protocol/packet.h"

namespace gcore::gdbstub {
namespace {

std::string machine_facts(const Target& target) {
  const char* triple = "x86_64-unknown-none-elf";
  if (target.arch() == Arch::aarch64)
    triple = target.big_endian() ? "aarch64_be-unknown-none-elf" : "aarch64-unknown-none-elf";
  if (target.arch() == Arch::i386) triple = "i386-unknown-none-elf";
  return fmt::format("triple:{};endian:{};ptrsize:{};", to_hex(triple), target.big_endian() ? "big" : "little",
                     target.arch() == Arch::i386 ? 4 : 8);
}

Reply host_info(Client& client, std::string_view) {
  client.lldb = true;
  // Addresses on aarch64 may carry a tag and a signature above the bits that LLDB should look at.
  const AddressBits bits = client.target.address_bits(client.space());
  std::string facts = machine_facts(client.target);
  if (bits.lower) facts += fmt::format("low_mem_addressing_bits:{};", *bits.lower);
  if (bits.upper) facts += fmt::format("high_mem_addressing_bits:{};", *bits.upper);
  return {facts + "default_packet_timeout:20;"};
}

Reply process_info(Client& client, std::string_view) { return {"pid:1;" + machine_facts(client.target)}; }

Reply server_version(Client& client, std::string_view) {
  const std::string& program = client.options.program;
  const size_t blank = program.rfind(' ');
  if (blank == std::string::npos) return {"name:" + program + ";"};
  return {"name:" + program.substr(0, blank) + ";version:" + program.substr(blank + 1) + ";"};
}

/// The run that holds the address, or the gap up to the next one. Where the dump lacks the tables that would tell, LLDB
/// gets an error: it would believe a gap, and not go on with a backtrace through it.
Reply memory_region(Client& client, std::string_view arguments) {
  constexpr uint64_t kPage = 4096;
  const auto asked = parse_hex(arguments.substr(arguments.empty() ? 0 : 1));
  if (!asked) return error(client, "the address is not in hex");
  const uint64_t address = client.target.without_tag(client.space(), *asked), tag = *asked - address;
  std::optional<Mapping> holder;
  uint64_t gap_start = 0, gap_last = UINT64_MAX;
  const std::string note = client.target.mappings(client.space(), [&](const Mapping& mapping) {
    const uint64_t last = mapping.start + (mapping.size - 1);
    if (mapping.start > address) {
      gap_last = mapping.start - 1;
      return false;
    }
    if (last >= address) {
      holder = mapping;
      return false;
    }
    gap_start = last + 1;
    return true;
  });
  if (holder)
    return {fmt::format("start:{:x};size:{:x};permissions:{}{}{};", holder->start + tag, holder->size,
                        holder->read ? "r" : "", holder->write ? "w" : "", holder->execute ? "x" : "")};
  const Walk walk = client.target.walk(client.space(), address);
  if (!walk.steps.empty() && !walk.steps.back().entry)
    return {fmt::format("start:{:x};size:1;error:{};", *asked, to_hex(walk.fault))};
  if (!note.empty()) {  // what lies between the mappings is not known, but for the page
    gap_start = address & ~(kPage - 1);
    gap_last = address | (kPage - 1);
  }
  return {fmt::format("start:{:x};size:{:x};", gap_start,
                      std::max<uint64_t>(gap_last - gap_start, gap_last - gap_start + 1))};
}

constexpr NamedHandler kHandlers[] = {
    {"qHostInfo", host_info},
    {"qProcessInfo", process_info},
    {"qGDBServerVersion", server_version},
    {"qMemoryRegionInfo", memory_region},
};

}  // namespace

std::span<const NamedHandler> lldb_handlers() { return kHandlers; }

}  // namespace gcore::gdbstub
