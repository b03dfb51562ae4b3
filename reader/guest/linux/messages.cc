#include "reader/guest/linux/messages.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "reader/dump/vmcoreinfo.h"
#include "reader/guest/linux/kernel_parts.h"
#include "reader/guest/linux/message_sources.h"
#include "writer/base/text.h"

namespace gcore::reader::linux_guest {
namespace {

// include/linux/printk.h, kernel/printk/internal.h: LOG_NEWLINE, LOG_CONT
constexpr uint8_t kEndsWithNewline = 2, kContinuation = 8;

}  // namespace

void append_printable(std::string& out, std::string_view text) {
  const auto is_plain = [](char c) { return (c >= ' ' && c <= '~') || c == '\t'; };
  if (std::ranges::all_of(text, is_plain))
    out += text;
  else
    out += base::printable(text, base::Printable::utf8_and_tabs);
}

PrintkLayout::PrintkLayout(const Kernel& kernel) : kernel_(kernel) {}

uint64_t PrintkLayout::or_missing(std::optional<uint64_t> value, std::string what) {
  if (!value && missing_.empty()) missing_ = std::move(what);
  return value.value_or(0);
}

uint64_t PrintkLayout::offset(std::string_view type, std::string_view member) {
  const Vmcoreinfo info(kernel_.guest().vmcoreinfo);
  auto value = info.number(fmt::format("OFFSET({}.{})", type, member));
  if (!value && (value = kernel_.offset(type, member))) used_btf_ = true;
  return or_missing(value, fmt::format("the offset of {}.{}", type, member));
}

uint64_t PrintkLayout::size(std::string_view type) {
  const Vmcoreinfo info(kernel_.guest().vmcoreinfo);
  auto value = info.number(fmt::format("SIZE({})", type));
  if (!value && kernel_.types() && (value = kernel_.types()->size_of(type))) used_btf_ = true;
  return or_missing(value, fmt::format("the size of {}", type));
}

std::optional<VirtAddr> PrintkLayout::symbol(std::string_view name) const {
  if (const auto value = Vmcoreinfo(kernel_.guest().vmcoreinfo).symbol(name)) return VirtAddr(*value);
  return kernel_.address_of(name);
}

void set_flags_and_level(Message& message, uint8_t bits, format::ByteOrder order) {
  const bool little = order == format::ByteOrder::little;
  message.level = static_cast<uint8_t>(little ? bits >> 5 : bits & 7);
  const unsigned flags = little ? bits & 31 : bits >> 3;
  message.continues = (flags & kEndsWithNewline) == 0;
  message.is_continuation = (flags & kContinuation) != 0;
}

Expected<Messages> read_messages(const Kernel& kernel) {
  const PrintkLayout layout(kernel);
  if (const auto ring = layout.symbol("prb")) return read_message_ring(kernel, *ring);
  if (const auto log = layout.symbol("log_buf")) return read_message_log(kernel, *log);
  return std::unexpected(Error{Error::Kind::not_present,
                               "cannot read the kernel's messages: neither VMCOREINFO nor the kernel's own names say "
                               "where they are (prb, log_buf)"});
}

std::string dmesg_text(const Messages& messages) {
  std::string out, prefix;
  for (const Message& message : messages.records) {
    prefix.clear();
    fmt::format_to(std::back_inserter(prefix), "[{:5}.{:06}] ", message.time_ns / 1'000'000'000,
                   message.time_ns % 1'000'000'000 / 1000);
    std::string_view rest = message.text;
    while (true) {
      const size_t end = rest.find('\n');
      out += prefix;
      append_printable(out, rest.substr(0, end));
      out += '\n';
      if (end == std::string_view::npos) break;
      rest.remove_prefix(end + 1);
    }
  }
  return out;
}

}  // namespace gcore::reader::linux_guest
