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
class RegionTask : public Task {
 public:
  RegionTask(const Client& client, uint64_t asked)
      : client_(client),
        space_(client.space()),
        asked_(asked),
        address_(client.target.without_tag(space_, asked)),
        list_(client.target.list(space_)) {}

  std::optional<Reply> step() override {
    if (list_->step([this](const Mapping& mapping) { return look_at(mapping); })) return std::nullopt;
    if (holder_)
      return Reply{fmt::format("start:{:x};size:{:x};permissions:{}{}{};", holder_->start + (asked_ - address_),
                               holder_->size, holder_->read ? "r" : "", holder_->write ? "w" : "",
                               holder_->execute ? "x" : "")};
    const Walk walk = client_.target.walk(space_, address_);
    if (!walk.steps.empty() && !walk.steps.back().entry)
      return Reply{fmt::format("start:{:x};size:1;error:{};", asked_, to_hex(walk.fault))};
    constexpr uint64_t kPage = 4096;
    if (!list_->note().empty()) {  // what lies between the mappings is not known, but for the page
      gap_start_ = address_ & ~(kPage - 1);
      gap_last_ = address_ | (kPage - 1);
    }
    return Reply{fmt::format("start:{:x};size:{:x};", gap_start_,
                             std::max<uint64_t>(gap_last_ - gap_start_, gap_last_ - gap_start_ + 1))};
  }
  Reply cancelled() override { return error(client_, "interrupted"); }

 private:
  bool look_at(const Mapping& mapping) {
    const uint64_t last = mapping.start + (mapping.size - 1);
    if (mapping.start > address_) {
      gap_last_ = mapping.start - 1;
      return false;
    }
    if (last >= address_) {
      holder_ = mapping;
      return false;
    }
    gap_start_ = last + 1;
    return true;
  }

  const Client& client_;
  Space space_;
  uint64_t asked_, address_;
  std::unique_ptr<MappingList> list_;
  std::optional<Mapping> holder_;
  uint64_t gap_start_ = 0, gap_last_ = UINT64_MAX;
};

Reply memory_region(Client& client, std::string_view arguments) {
  const auto asked = parse_hex(arguments.substr(arguments.empty() ? 0 : 1));
  if (!asked) return error(client, "the address is not in hex");
  Reply reply;
  reply.task = std::make_unique<RegionTask>(client, *asked);
  return reply;
}

constexpr NamedHandler kHandlers[] = {
    {"qHostInfo", host_info, Asks::space},
    {"qProcessInfo", process_info},
    {"qGDBServerVersion", server_version},
    {"qMemoryRegionInfo", memory_region, Asks::space},
};

}  // namespace

std::span<const NamedHandler> lldb_handlers() { return kHandlers; }

}  // namespace gcore::gdbstub
