#include "tools/gcore-dump/gdb_registers.h"

#include <arpa/inet.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <deque>
#include <optional>

#include "writer/base/unique_fd.h"

namespace gcore::tools::qemu {
namespace {

namespace json = llvm::json;
using Clock = std::chrono::steady_clock;
template <class T>
using Maybe = std::expected<T, std::string>;

constexpr size_t kLongestPacket = 1 << 20, kLongestDocument = 4 << 20, kMostIncludes = 64;
constexpr char kChardev[] = "gcore-dump-gdb";

/// The client side of the remote serial protocol, as far as reading registers takes it.
class Stub {
 public:
  Stub(int socket, Clock::time_point deadline) : socket_(socket), deadline_(deadline) {}

  Maybe<std::string> ask(std::string_view packet) {
    if (!send_all(framed(packet))) return std::unexpected("the gdb stub has gone");
    return next_answer(packet.starts_with("?"));
  }

  /// The answers to several packets, sent at once: one turn of QEMU's main loop instead of one for each.
  Maybe<std::vector<std::string>> ask_all(const std::vector<std::string>& packets) {
    std::string text;
    for (const std::string& packet : packets) text += framed(packet);
    if (!send_all(text)) return std::unexpected("the gdb stub has gone");
    std::vector<std::string> answers;
    for (size_t i = 0; i < packets.size(); ++i) {
      auto answer = next_answer(false);
      if (!answer) return std::unexpected(answer.error());
      answers.push_back(std::move(*answer));
    }
    return answers;
  }

  /// A document of the target description, in as many pieces as it takes.
  Maybe<std::string> document(const std::string& name) {
    std::string text;
    for (;;) {
      char range[40];
      std::snprintf(range, sizeof range, ":%zx,%x", text.size(), 0x800u);
      auto piece = ask("qXfer:features:read:" + name + range);
      if (!piece) return piece;
      if (piece->empty() || (piece->front() != 'm' && piece->front() != 'l'))
        return std::unexpected("the gdb stub has no " + name);
      text.append(*piece, 1);
      if (piece->front() == 'l') return text;
      if (piece->size() == 1 || text.size() > kLongestDocument)
        return std::unexpected("the gdb stub's " + name + " has no end");
    }
  }

 private:
  static std::string framed(std::string_view packet) {
    unsigned sum = 0;
    for (const char c : packet) sum += static_cast<uint8_t>(c);
    static constexpr char kDigits[] = "0123456789abcdef";
    return "$" + std::string(packet) + "#" + kDigits[sum >> 4 & 15] + kDigits[sum & 15];
  }

  Maybe<std::string> next_answer(bool stop_reply) {
    for (;;) {
      auto answer = next_packet();
      // A stop reply that nobody asked for: the stub tells that the connection stopped the guest.
      if (answer && answer->starts_with("T") && !stop_reply) continue;
      return answer;
    }
  }

  bool send_all(std::string_view text) {
    while (!text.empty()) {
      const ssize_t sent = send(socket_, text.data(), text.size(), MSG_NOSIGNAL);
      if (sent < 0 && errno == EINTR) continue;
      if (sent <= 0) return false;
      text.remove_prefix(static_cast<size_t>(sent));
    }
    return true;
  }

  Maybe<std::string> next_packet() {
    for (;;) {
      const size_t start = buffer_.find('$');
      const size_t end = start == std::string::npos ? start : buffer_.find('#', start);
      if (end != std::string::npos && buffer_.size() >= end + 3) {
        std::string packet = unescape(std::string_view(buffer_).substr(start + 1, end - start - 1));
        buffer_.erase(0, end + 3);
        if (!send_all("+")) return std::unexpected("the gdb stub has gone");
        return packet;
      }
      if (buffer_.size() > kLongestPacket) return std::unexpected("the gdb stub sends an endless packet");
      const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline_ - Clock::now()).count();
      pollfd one{socket_, POLLIN, 0};
      const int ready = poll(&one, 1, static_cast<int>(std::clamp<int64_t>(left, 0, 1 << 30)));
      if (ready < 0 && errno == EINTR) continue;
      if (ready <= 0) return std::unexpected("the gdb stub does not answer");
      char bytes[8192];
      const ssize_t got = recv(socket_, bytes, sizeof bytes, 0);
      if (got <= 0) return std::unexpected("the gdb stub closed the connection");
      buffer_.append(bytes, static_cast<size_t>(got));
    }
  }

  static std::string unescape(std::string_view data) {
    std::string text;
    for (size_t at = 0; at < data.size(); ++at)
      text += data[at] == '}' && at + 1 < data.size() ? static_cast<char>(data[++at] ^ 0x20) : data[at];
    return text;
  }

  int socket_;
  Clock::time_point deadline_;
  std::string buffer_;
};

/// The value of an attribute of an XML element; nothing when it has none of that name.
std::optional<std::string_view> attribute(std::string_view element, std::string_view name) {
  for (size_t at = element.find(name); at != std::string_view::npos; at = element.find(name, at + 1)) {
    const size_t quote = at + name.size() + 1;
    if (at == 0 || std::strchr(" \t\n", element[at - 1]) == nullptr || quote >= element.size()) continue;
    if (element[quote - 1] != '=' || (element[quote] != '"' && element[quote] != '\'')) continue;
    const size_t end = element.find(element[quote], quote + 1);
    if (end == std::string_view::npos) return std::nullopt;
    return element.substr(quote + 1, end - quote - 1);
  }
  return std::nullopt;
}

std::optional<unsigned> decimal(std::optional<std::string_view> text) {
  unsigned value = 0;
  if (!text || std::from_chars(text->data(), text->data() + text->size(), value).ec != std::errc()) return std::nullopt;
  return value;
}

/// The value of a `p` reply: bytes in the target's (little-endian) order.
std::optional<uint64_t> register_value(std::string_view hex) {
  if (hex.empty() || hex.size() > 16 || hex.size() % 2 != 0) return std::nullopt;
  uint64_t value = 0;
  for (size_t at = 0; at < hex.size(); at += 2) {
    uint8_t byte = 0;
    const auto [end, problem] = std::from_chars(hex.data() + at, hex.data() + at + 2, byte, 16);
    if (problem != std::errc() || end != hex.data() + at + 2) return std::nullopt;
    value |= uint64_t{byte} << (4 * at);
  }
  return value;
}

/// Every register of the description, included files and all.
Maybe<std::vector<StubRegister>> all_registers(Stub& stub) {
  std::vector<StubRegister> registers;
  std::deque<std::string> files{"target.xml"};
  unsigned next = 0;
  for (size_t count = 0; !files.empty() && count < kMostIncludes; ++count) {
    auto text = stub.document(files.front());
    files.pop_front();
    if (!text) return std::unexpected(text.error());
    Description part = parse_description(*text, next);
    files.insert(files.begin(), part.includes.begin(), part.includes.end());
    if (!part.registers.empty()) next = part.registers.back().number + 1;
    registers.insert(registers.end(), part.registers.begin(), part.registers.end());
  }
  return registers;
}

struct Wanted {
  unsigned number;
  size_t slot;
};

std::vector<Wanted> wanted_registers(const std::vector<StubRegister>& all, format::Machine machine) {
  std::vector<Wanted> wanted;
  for (const StubRegister& one : all) {
    const auto slot = format::find_register(machine, our_register_name(machine, one.name));
    if (!slot || one.bits > 64) continue;
    if (format::registers(machine)[*slot].core_offset >= 0) continue;
    wanted.push_back({one.number, *slot});
  }
  return wanted;
}

/// Where QEMU's own stub listens.
struct Existing {
  bool in_use = false;
  std::string address;  // "unix:PATH" or "tcp:HOST:PORT"
};

std::optional<Existing> existing_stub(Qmp& qmp) {
  auto answer = qmp.execute("query-chardev");
  const json::Array* devices = answer ? answer->getAsArray() : nullptr;
  if (!devices) return std::nullopt;
  for (const json::Value& device : *devices) {
    const json::Object* facts = device.getAsObject();
    if (!facts || facts->getString("label").value_or("") != "gdb") continue;
    llvm::StringRef name = facts->getString("filename").value_or("");
    const bool in_use = !name.consume_front("disconnected:");
    return Existing{in_use, name.substr(0, name.find(',')).str()};
  }
  return std::nullopt;
}

Maybe<base::UniqueFd> connect_stub(const std::string& address, int qemu_pid) {
  sockaddr_storage to{};
  socklen_t size = 0;
  if (address.starts_with("unix:")) {
    std::string path = address.substr(5);
    if (!path.starts_with('/') && qemu_pid > 0) path = "/proc/" + std::to_string(qemu_pid) + "/cwd/" + path;
    auto& local = reinterpret_cast<sockaddr_un&>(to);
    if (path.size() >= sizeof local.sun_path) return std::unexpected("the path of QEMU's gdb socket is too long");
    local.sun_family = AF_UNIX;
    std::memcpy(local.sun_path, path.c_str(), path.size() + 1);
    size = sizeof local;
  } else if (address.starts_with("tcp:") && address.rfind(':') > 4) {
    auto& net = reinterpret_cast<sockaddr_in&>(to);
    const size_t colon = address.rfind(':');
    net.sin_family = AF_INET;
    net.sin_port = htons(static_cast<uint16_t>(decimal(address.substr(colon + 1)).value_or(0)));
    if (inet_pton(AF_INET, address.substr(4, colon - 4).c_str(), &net.sin_addr) != 1)
      return std::unexpected("QEMU's gdb stub listens at " + address + ", which is no IPv4 address");
    size = sizeof net;
  } else {
    return std::unexpected("QEMU's gdb stub is at " + address + ", where nobody can connect");
  }
  base::UniqueFd fd(socket(to.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd || connect(fd.get(), reinterpret_cast<const sockaddr*>(&to), size) != 0)
    return std::unexpected("cannot connect to QEMU's gdb stub at " + address + ": " + std::strerror(errno));
  return fd;
}

/// Starts a stub that talks over a socket pair: no file, no port, nothing for others to connect to.
Maybe<base::UniqueFd> start_stub(Qmp& qmp) {
  if (!qmp.passes_descriptors())
    return std::unexpected("QEMU's gdb stub is reached by way of a UNIX socket of QMP only");
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) return std::unexpected(std::strerror(errno));
  base::UniqueFd ours(ends[0]), theirs(ends[1]);
  if (auto given = qmp.execute("getfd", json::Object{{"fdname", kChardev}}, Qmp::kTimeout, theirs.get()); !given)
    return std::unexpected(given.error().text);
  json::Object address{{"type", "fd"}, {"data", json::Object{{"str", kChardev}}}};
  json::Object socket{{"addr", std::move(address)}, {"server", false}};
  json::Object backend{{"type", "socket"}, {"data", std::move(socket)}};
  if (auto added = qmp.execute("chardev-add", json::Object{{"id", kChardev}, {"backend", std::move(backend)}}); !added)
    return std::unexpected(added.error().text);
  auto said = qmp.human(std::string("gdbserver chardev:") + kChardev);
  if (!said) return std::unexpected(said.error().text);
  if (said->find("Waiting for gdb") == std::string::npos)
    return std::unexpected("QEMU cannot start its gdb stub: " + said->substr(0, said->find('\n')));
  return ours;
}

}  // namespace

Description parse_description(std::string_view xml, unsigned first) {
  Description description;
  for (size_t at = xml.find('<'); at != std::string_view::npos; at = xml.find('<', at)) {
    if (xml.substr(at).starts_with("<!--")) {
      at = xml.find("-->", at);
      continue;
    }
    const size_t end = xml.find('>', at);
    if (end == std::string_view::npos) break;
    const std::string_view element = xml.substr(at, end - at);
    at = end;
    if (element.starts_with("<xi:include")) {
      if (const auto file = attribute(element, "href")) description.includes.emplace_back(*file);
    } else if (element.starts_with("<reg ")) {
      const auto name = attribute(element, "name");
      const unsigned number = decimal(attribute(element, "regnum")).value_or(first);
      if (name)
        description.registers.push_back(
            {std::string(*name), number, decimal(attribute(element, "bitsize")).value_or(64)});
      first = number + 1;
    }
  }
  return description;
}

std::string our_register_name(format::Machine machine, std::string_view name) {
  std::string ours(name);
  for (char& c : ours)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  // QEMU names a register that AArch32 shares after the latter: SCTLR, VBAR, CPACR.
  for (const char* suffix : {"", "_el1", "_el0"})
    if (format::find_register(machine, ours + suffix)) return ours + suffix;
  return "";
}

Maybe<std::vector<format::RegisterFile>> read_stub_registers(int socket, format::Machine machine, size_t cpu_count,
                                                             std::chrono::milliseconds timeout) {
  Stub stub(socket, Clock::now() + timeout);
  if (auto features = stub.ask("qSupported:xmlRegisters=i386,arm"); !features) return std::unexpected(features.error());
  auto all = all_registers(stub);
  if (!all) return std::unexpected(all.error());
  const std::vector<Wanted> wanted = wanted_registers(*all, machine);
  std::vector<format::RegisterFile> cpus(cpu_count, format::RegisterFile(machine));
  for (size_t index = 0; index < cpu_count; ++index) {
    char packet[32];
    std::snprintf(packet, sizeof packet, "Hg%zx", index + 1);  // QEMU numbers threads like this
    auto selected = stub.ask(packet);
    if (!selected) return std::unexpected(selected.error());
    if (*selected != "OK") continue;
    std::vector<std::string> packets;
    for (const Wanted& one : wanted) {
      std::snprintf(packet, sizeof packet, "p%x", one.number);
      packets.emplace_back(packet);
    }
    const auto answers = stub.ask_all(packets);
    if (!answers) return std::unexpected(answers.error());
    for (size_t i = 0; i < wanted.size(); ++i)
      if (const auto value = register_value((*answers)[i])) cpus[index].set_slot(wanted[i].slot, *value);
  }
  return cpus;
}

Maybe<std::vector<format::RegisterFile>> read_stub_registers(Qmp& qmp, format::Machine machine, size_t cpu_count) {
  const std::chrono::milliseconds timeout(5000 + 20 * cpu_count);
  if (const auto existing = existing_stub(qmp)) {
    if (existing->in_use) return std::unexpected("a debugger is connected to QEMU's gdb stub");
    auto connection = connect_stub(existing->address, qmp.peer_pid());
    if (!connection) return std::unexpected(connection.error());
    return read_stub_registers(connection->get(), machine, cpu_count, timeout);
  }
  auto connection = start_stub(qmp);
  Maybe<std::vector<format::RegisterFile>> registers =
      connection ? read_stub_registers(connection->get(), machine, cpu_count, timeout)
                 : std::unexpected(connection.error());
  if (connection) connection->reset();
  (void)qmp.human("gdbserver none");  // which removes the character device, too
  return registers;
}

}  // namespace gcore::tools::qemu
