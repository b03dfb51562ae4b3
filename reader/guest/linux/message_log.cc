// The buffer of messages before 5.10, kernel/printk/printk.c: records one after the other, each a struct printk_log
// with its text and a dictionary after it; a record of length 0 says that the next one is at the start.
#include <fmt/format.h>

#include <array>

#include "reader/guest/linux/message_sources.h"
#include "writer/format/endian.h"

namespace gcore::reader::linux_guest {
namespace {

constexpr uint64_t kMaxLength = uint64_t{1} << 31;
constexpr size_t kMaxHeader = 64;

std::unexpected<Error> fail(Error::Kind kind, const std::string& why) {
  return std::unexpected(Error{kind, "cannot read the kernel's messages: " + why});
}

}  // namespace

Expected<Messages> read_message_log(const Kernel& kernel, VirtAddr log) {
  const KernelMemory& memory = kernel.memory();
  PrintkLayout layout(kernel);
  const uint64_t header = layout.size("printk_log"), time_at = layout.offset("printk_log", "ts_nsec");
  const uint64_t length_at = layout.offset("printk_log", "len"), text_at = layout.offset("printk_log", "text_len");
  const uint64_t dictionary_at = layout.offset("printk_log", "dict_len");
  if (!layout.missing().empty()) return fail(Error::Kind::not_present, "nothing says " + layout.missing());
  const auto value = [&](const char* name, size_t size) -> std::optional<uint64_t> {
    const auto at = layout.symbol(name);
    return at ? memory.number(*at, size) : std::nullopt;
  };
  const auto buffer = memory.pointer(log);
  const auto size = value("log_buf_len", 4), first = value("log_first_idx", 4), next = value("log_next_idx", 4);
  if (!buffer || !size || !first || !next)
    return fail(Error::Kind::not_present, "log_buf, its length or its ends are not in the dump");
  // facility (a byte) and flags with level (a byte) follow the lengths.
  const uint64_t facility_at = dictionary_at + 2;
  if (header < 16 || header > kMaxHeader || time_at + 8 > header || facility_at + 2 > header ||
      length_at + 2 > header || text_at + 2 > header || *size > kMaxLength || *first >= *size || *next > *size)
    return fail(Error::Kind::malformed,
                fmt::format("a buffer of {} bytes with records from {} to {}", *size, *first, *next));

  Messages result;
  result.source = std::string("log_buf by ") + layout.source();
  uint64_t sequence = value("log_first_seq", 8).value_or(0);
  bool from_start = false;
  result.lost = sequence;
  const auto order = kernel.dump().byte_order();
  for (uint64_t at = *first; at != *next;) {
    std::array<std::byte, kMaxHeader> bytes;
    const bool all_round = from_start && at >= *first;  // and has not come to the end
    if (all_round || at + header > *size || !memory.read_exactly(*buffer + at, std::span(bytes).first(header))) {
      ++result.lost;
      break;
    }
    const uint64_t length = format::load<uint16_t>(&bytes[length_at], order);
    if (length == 0) {
      if (from_start) {
        ++result.lost;
        break;
      }
      from_start = true;
      at = 0;
      continue;
    }
    const uint64_t text_length = format::load<uint16_t>(&bytes[text_at], order);
    if (length < header + text_length || at + length > *size) {
      ++result.lost;
      break;
    }
    Message message;
    message.sequence = sequence++;
    message.time_ns = format::load<uint64_t>(&bytes[time_at], order);
    message.facility = static_cast<uint8_t>(bytes[facility_at]);
    set_flags_and_level(message, static_cast<uint8_t>(bytes[facility_at + 1]), order);
    message.text.resize(text_length);
    if (memory.read_exactly(*buffer + (at + header), std::as_writable_bytes(std::span(message.text)))) {
      result.records.push_back(std::move(message));
    } else {
      ++result.lost;
    }
    at += length;
  }
  return result;
}

}  // namespace gcore::reader::linux_guest
