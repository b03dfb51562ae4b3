#include "gdbstub/dump_text.h"

#include <fmt/format.h>

#include <ctime>

namespace gcore::gdbstub {

std::string origin_text(const reader::DumpInfo& info) {
  if (!info.present) return {};
  std::string text;
  const auto line = [&text](std::string_view label, std::string_view value) {
    if (!value.empty()) text += fmt::format("{}: {}\n", label, value);
  };
  line("guest", info.vm);
  line("host", info.host);
  if (info.requested_ns) {
    const auto seconds = static_cast<time_t>(*info.requested_ns / 1'000'000'000);
    tm parts{};
    char date[32] = {};
    if (gmtime_r(&seconds, &parts) != nullptr && std::strftime(date, sizeof date, "%F %T UTC", &parts) > 0)
      line("taken", date);
  }
  line("reason", info.reason_kind + (info.reason_detail.empty() ? "" : " " + info.reason_detail));
  line("written by", info.program + (info.program.empty() || info.writer.empty() ? "" : ", ") + info.writer);
  if (info.pause_ns)
    line("the guest was paused for", fmt::format("{:.3f} ms", static_cast<double>(*info.pause_ns) / 1e6));
  line("memory is of one moment", info.consistency.empty()                                         ? ""
                                  : info.consistency == "paused" || info.consistency == "snapshot" ? "yes"
                                                                                                   : "no");
  if (!info.complete) text += "the dump is partial: its writer was stopped\n";
  return text;
}

std::string guest_text(const reader::GuestSystem& guest) {
  std::string text;
  if (guest.kind == reader::GuestSystem::Kind::qnx) text = "system: QNX\n";
  if (guest.kind == reader::GuestSystem::Kind::linux_kernel) text = fmt::format("system: Linux {}\n", guest.release);
  if (!guest.banner.empty()) text += guest.banner + "\n";
  if (guest.image_address) text += fmt::format("kernel image: {:#x}", guest.image_address->value);
  if (guest.image_address && guest.image_physical)
    text += fmt::format(", guest-physical {:#x}", guest.image_physical->value);
  if (guest.image_address) text += '\n';
  if (guest.kaslr_offset) text += fmt::format("moved from where it was linked by: {:#x}\n", *guest.kaslr_offset);
  for (const std::string& note : guest.notes) text += note + "\n";
  return text;
}

}  // namespace gcore::gdbstub
