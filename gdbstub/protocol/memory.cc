// Reading memory, and the two packets that look at much of it: search and checksum.
#include <algorithm>
#include <array>

#include "gdbstub/protocol/client.h"
#include "gdbstub/protocol/packet.h"

namespace gcore::gdbstub {
namespace {

constexpr size_t kMaxRead = kMaxPayload / 2 - 1;
constexpr size_t kChecksumSlice = 256 << 10;

/// The leading bytes that there are: GDB asks for the rest, and only an address with nothing after it is an error.
std::vector<std::byte> read_leading(const Client& client, uint64_t address, uint64_t length) {
  std::vector<std::byte> bytes(std::min<uint64_t>(length, kMaxRead));
  if (!bytes.empty()) {
    // The address space ends: a read does not go on at address 0.
    const uint64_t left = UINT64_MAX - address;
    if (bytes.size() - 1 > left) bytes.resize(left + 1);
    bytes.resize(client.target.read(client.space(), address, bytes));
  }
  return bytes;
}

Reply unreadable(const Client& client, uint64_t address) {
  return client.error_text ? error(client, client.target.why_unreadable(client.space(), address)) : error(client, "");
}

Reply read_hex(Client& client, std::string_view arguments) {
  const auto wanted = parse_address_length(arguments);
  if (!wanted) return error(client, "m needs an address and a length");
  if (wanted->length == 0) return error(client, "the length is 0");  // an empty reply would mean something else
  Reply reply{.packet = "", .memory = read_leading(client, wanted->address, wanted->length)};
  if (reply.memory.empty()) return unreadable(client, wanted->address);
  return reply;
}

Reply read_binary(Client& client, std::string_view arguments) {
  const auto wanted = parse_address_length(arguments);
  if (!wanted) return error(client, "x needs an address and a length");
  const char* mark = client.binary_upload ? "b" : "";
  if (wanted->length == 0) return {client.binary_upload ? "b" : "OK"};  // a question whether the packet is known
  const auto bytes = read_leading(client, wanted->address, wanted->length);
  if (bytes.empty()) return unreadable(client, wanted->address);
  Reply reply{.packet = mark, .run_length = false};
  reply.packet.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  return reply;
}

class SearchTask : public Task {
 public:
  SearchTask(const Client& client, std::unique_ptr<Search> search) : client_(client), search_(std::move(search)) {}
  std::optional<Reply> step() override {
    std::vector<uint64_t> hits;
    const bool more = search_->step(hits, 1);
    if (!hits.empty()) return Reply{"1," + hex_number(hits.front())};
    if (more) return std::nullopt;
    return Reply{"0"};  // also where problem() says that a part was not seen: `monitor find` tells, this has no way to
  }
  Reply cancelled() override { return error(client_, "interrupted"); }

 private:
  const Client& client_;
  std::unique_ptr<Search> search_;
};

/// qSearch:memory:ADDRESS;LENGTH;PATTERN, the pattern being escaped binary.
Reply search_memory(Client& client, std::string_view arguments) {
  constexpr std::string_view kKind = ":memory:";
  if (!arguments.starts_with(kKind)) return {};
  arguments.remove_prefix(kKind.size());
  const size_t first_end = arguments.find(';');
  const size_t second_end = first_end == std::string_view::npos ? first_end : arguments.find(';', first_end + 1);
  if (second_end == std::string_view::npos) return error(client, "a search needs an address, a length and a pattern");
  const auto range = parse_address_length(arguments.substr(0, second_end), ';');
  const std::string pattern = unescape(arguments.substr(second_end + 1));
  if (!range || pattern.empty()) return error(client, "a search needs an address, a length and a pattern");
  if (range->length < pattern.size()) return {"0"};
  const uint64_t last = range->address + std::min(range->length - 1, UINT64_MAX - range->address);
  auto search = client.target.search(client.space(), range->address, last, pattern);
  if (!search) return error(client, search.error());
  Reply reply;
  reply.task = std::make_unique<SearchTask>(client, std::move(*search));
  return reply;
}

constexpr std::array<uint32_t, 256> crc_table() {
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t c = i << 24;
    for (int bit = 0; bit < 8; ++bit) c = (c & 0x80000000u) != 0 ? c << 1 ^ 0x04c11db7u : c << 1;
    table[i] = c;
  }
  return table;
}

class ChecksumTask : public Task {
 public:
  ChecksumTask(const Client& client, AddressLength range)
      : client_(client), space_(client.space()), position_(range.address), left_(range.length) {}

  std::optional<Reply> step() override {
    static constexpr auto kTable = crc_table();
    std::vector<std::byte> bytes(std::min<uint64_t>(left_, kChecksumSlice));
    const size_t got = bytes.empty() ? 0 : client_.target.read(space_, position_, bytes);
    if (got < bytes.size()) return error(client_, client_.target.why_unreadable(space_, position_ + got));
    for (const std::byte b : bytes) crc_ = crc_ << 8 ^ kTable[(crc_ >> 24 ^ static_cast<uint32_t>(b)) & 0xff];
    position_ += got;
    left_ -= got;
    if (left_ > 0) return std::nullopt;
    return Reply{"C" + hex_number(crc_)};
  }
  Reply cancelled() override { return error(client_, "interrupted"); }

 private:
  const Client& client_;
  Space space_;
  uint64_t position_, left_;
  uint32_t crc_ = 0xffffffff;
};

/// qCRC:ADDRESS,LENGTH
Reply checksum_memory(Client& client, std::string_view arguments) {
  const auto range = parse_address_length(arguments.substr(arguments.empty() ? 0 : 1));
  if (!range) return error(client, "qCRC needs an address and a length");
  if (range->length > 0 && range->length - 1 > UINT64_MAX - range->address) return error(client, "the range wraps");
  Reply reply;
  reply.task = std::make_unique<ChecksumTask>(client, *range);
  return reply;
}

constexpr NamedHandler kHandlers[] = {
    {"m", read_hex, Asks::space},
    {"x", read_binary, Asks::space},
    {"qSearch", search_memory, Asks::space},
    {"qCRC", checksum_memory, Asks::space},
};

}  // namespace

std::span<const NamedHandler> memory_handlers() { return kHandlers; }

}  // namespace gcore::gdbstub
