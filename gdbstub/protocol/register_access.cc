#include <algorithm>
#include <array>
#include <cctype>
#include <cstring>

#include "gdbstub/protocol/client.h"
#include "gdbstub/protocol/packet.h"
#include "gdbstub/protocol/registers.h"

namespace gcore::gdbstub {
namespace {

constexpr size_t kWidest = 16;

/// The value in the target's byte order, or nothing when a part of it is absent.
std::optional<std::array<std::byte, kWidest>> register_bytes(const Client& client, const Register& reg) {
  const auto low = client.register_value(client.cpu, reg.low);
  const auto high = reg.high[0] == 0 ? std::optional<uint64_t>(0) : client.register_value(client.cpu, reg.high);
  if (!low || !high) return std::nullopt;
  std::array<std::byte, kWidest> bytes{};
  for (size_t i = 0; i < 8; ++i) {
    bytes[i] = static_cast<std::byte>(*low >> reg.shift >> (8 * i));
    bytes[8 + i] = static_cast<std::byte>(*high >> (8 * i));
  }
  if (client.target.big_endian()) std::reverse(bytes.begin(), bytes.begin() + reg.bytes);
  return bytes;
}

}  // namespace

bool has_register(const Client& client, const Register& reg) { return register_bytes(client, reg).has_value(); }

std::string register_hex(const Client& client, const Register& reg) {
  const auto bytes = register_bytes(client, reg);
  if (!bytes) return std::string(2 * size_t{reg.bytes}, 'x');
  std::string hex;
  append_hex(hex, std::span(*bytes).first(reg.bytes));
  return hex;
}

std::string general_registers_hex(const Client& client) {
  const RegisterSet& set = register_set(client.target.arch());
  std::string hex;
  const size_t count = client.described ? set.g_count : set.undescribed_count;
  for (size_t i = 0; i < count; ++i) hex += register_hex(client, set.all[i]);
  return hex;
}

const Register* find_register(Arch arch, std::string_view name) {
  const auto same = [name](const Register& reg) {
    return std::ranges::equal(std::string_view(reg.name), name,
                              [](unsigned char a, unsigned char b) { return std::tolower(a) == std::tolower(b); });
  };
  const auto all = register_set(arch).all;
  const auto found = std::ranges::find_if(all, same);
  return found == all.end() ? nullptr : &*found;
}

}  // namespace gcore::gdbstub
