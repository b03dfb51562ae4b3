// vFile: the debugger reads the guest's ELF file through the stub. Only that one, and only to read.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <vector>

#include "gdbstub/protocol/client.h"
#include "gdbstub/protocol/packet.h"

namespace gcore::gdbstub {
namespace {

// Error numbers and the layout of a stat are those of GDB's file-I/O protocol, whatever the host's are.
constexpr int kNoEntry = 2, kBadFile = 9, kAccess = 13, kInvalid = 22, kTooManyFiles = 24;
constexpr uint64_t kFirstDescriptor = 3;
constexpr size_t kMaxOpen = 256;
constexpr size_t kStatBytes = 64;
constexpr uint32_t kRegularReadable = 0100444;

Reply failed(int number) { return {fmt::format("F-1,{:x}", number)}; }
Reply done(uint64_t result) { return {"F" + hex_number(result)}; }

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  for (size_t at = 0;;) {
    const size_t end = text.find(separator, at);
    parts.push_back(text.substr(at, end - at));
    if (end == std::string_view::npos) return parts;
    at = end + 1;
  }
}

/// The guest's ELF file, or one of its modules.
const ExecFile* file_named(const Client& client, std::string_view name) {
  if (client.file() != nullptr && name == client.file()->path()) return client.file();
  if (!client.offers_libraries()) return nullptr;
  const auto libraries = client.options.made_file->libraries();
  const auto found = std::ranges::find_if(libraries, [&](const Library& one) { return one.file.path() == name; });
  return found == libraries.end() ? nullptr : &found->file;
}

Reply open_file(Client& client, std::string_view arguments) {
  const auto parts = split(arguments, ',');
  const auto name = from_hex(parts[0]);
  const auto flags = parts.size() == 3 ? parse_hex(parts[1]) : std::nullopt;
  if (!name || !flags) return failed(kInvalid);
  const ExecFile* file = file_named(client, *name);
  if (file == nullptr) return failed(kNoEntry);
  if (*flags != 0) return failed(kAccess);
  if (client.open_files.size() >= kMaxOpen) return failed(kTooManyFiles);
  // As everywhere, the lowest one that is free: GDB opens the file several times, and reads through one after it has
  // closed another.
  uint64_t descriptor = kFirstDescriptor;
  for (const auto& taken : client.open_files) {
    if (taken.first != descriptor) break;
    ++descriptor;
  }
  client.open_files.emplace(descriptor, file);
  return done(descriptor);
}

/// Null when there is no such descriptor.
const ExecFile* opened(const Client& client, std::string_view descriptor) {
  const auto number = parse_hex(descriptor);
  const auto found = number ? client.open_files.find(*number) : client.open_files.end();
  return found == client.open_files.end() ? nullptr : found->second;
}

Reply close_file(Client& client, std::string_view arguments) {
  if (opened(client, arguments) == nullptr) return failed(kBadFile);
  client.open_files.erase(*parse_hex(arguments));
  return done(0);
}

Reply read_file(Client& client, std::string_view arguments) {
  const auto parts = split(arguments, ',');
  const auto count = parts.size() == 3 ? parse_hex(parts[1]) : std::nullopt;
  const auto offset = parts.size() == 3 ? parse_hex(parts[2]) : std::nullopt;
  if (!count || !offset) return failed(kInvalid);
  const ExecFile* file = opened(client, parts[0]);
  if (file == nullptr) return failed(kBadFile);
  // What a client can take, it asks for: PacketSize says what is taken here. GDB asks for as much as that, and makes
  // room for what escaping adds.
  std::string data(std::min<uint64_t>(*count, kMaxPayload), '\0');
  data.resize(file->read(*offset, std::as_writable_bytes(std::span(data))));
  return {.packet = "F" + hex_number(data.size()) + ";" + data, .run_length = false};
}

Reply stat_file(Client& client, std::string_view arguments) {
  const ExecFile* file = opened(client, arguments);
  if (file == nullptr) return failed(kBadFile);
  std::string stat(kStatBytes, '\0');
  const auto put = [&stat](size_t offset, size_t bytes, uint64_t value) {
    for (size_t i = 0; i < bytes; ++i) stat[offset + i] = static_cast<char>(value >> (8 * (bytes - 1 - i)));
  };
  const uint64_t size = file->size();
  put(8, 4, kRegularReadable);
  put(12, 4, 1);
  put(28, 8, size);
  put(36, 8, 4096);
  put(44, 8, (size + 511) / 512);
  return {.packet = "F" + hex_number(kStatBytes) + ";" + stat, .run_length = false};
}

/// vFile:OPERATION:ARGUMENTS
Reply file(Client& client, std::string_view arguments) {
  if (!arguments.starts_with(':')) return {};
  arguments.remove_prefix(1);
  const size_t end = std::min(arguments.find(':'), arguments.size());
  const std::string_view operation = arguments.substr(0, end);
  const std::string_view rest = arguments.substr(std::min(end + 1, arguments.size()));
  if (operation == "setfs") return done(0);  // there is one file system
  if (operation == "open") return open_file(client, rest);
  if (operation == "close") return close_file(client, rest);
  if (operation == "pread") return read_file(client, rest);
  if (operation == "fstat") return stat_file(client, rest);
  if (operation == "readlink") return failed(kInvalid);  // it is no link
  if (operation == "pwrite" || operation == "unlink") return failed(kAccess);
  return {};
}

constexpr NamedHandler kHandlers[] = {{"vFile", file}};

}  // namespace

std::span<const NamedHandler> file_handlers() { return kHandlers; }

}  // namespace gcore::gdbstub
