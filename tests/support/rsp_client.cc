#include "tests/support/rsp_client.h"

#include <netdb.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <stdexcept>
#include <system_error>
#include <utility>

#include "tests/support/regex.h"

namespace gcore::tests {
namespace {

[[noreturn]] void fail(const std::string& what) { throw std::runtime_error("rsp: " + what); }

std::string hex(uint64_t value) {
  std::array<char, 16> digits{};
  auto end = std::to_chars(digits.data(), digits.data() + digits.size(), value, 16).ptr;
  return {digits.data(), end};
}

uint8_t checksum(std::string_view payload) {
  uint8_t sum = 0;
  for (char c : payload) sum = static_cast<uint8_t>(sum + static_cast<uint8_t>(c));
  return sum;
}

std::string without_comments(std::string xml) {
  for (size_t start = 0; (start = xml.find("<!--", start)) != std::string::npos;) {
    size_t end = xml.find("-->", start);
    xml.erase(start, end == std::string::npos ? end : end + 3 - start);
  }
  return xml;
}

}  // namespace

std::string to_hex(std::string_view bytes) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string result;
  for (char c : bytes) {
    result += kDigits[static_cast<uint8_t>(c) >> 4];
    result += kDigits[static_cast<uint8_t>(c) & 15];
  }
  return result;
}

std::string from_hex(std::string_view digits) {
  std::string result;
  for (size_t i = 0; i + 1 < digits.size(); i += 2) {
    uint8_t byte = 0;
    auto [end, error] = std::from_chars(digits.data() + i, digits.data() + i + 2, byte, 16);
    if (error != std::errc() || end != digits.data() + i + 2) break;
    result += static_cast<char>(byte);
  }
  return result;
}

RspClient RspClient::tcp(const std::string& host, uint16_t port) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (int error = getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found)) fail(gai_strerror(error));
  int fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  int result = connect(fd, found->ai_addr, found->ai_addrlen);
  freeaddrinfo(found);
  if (result != 0) throw std::system_error(errno, std::generic_category(), "connect to " + host);
  return RspClient(fd);
}

RspClient RspClient::unix_socket(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) fail("socket path too long: " + path);
  std::memcpy(address.sun_path, path.data(), path.size());
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    throw std::system_error(errno, std::generic_category(), "connect to " + path);
  }
  return RspClient(fd);
}

RspClient::RspClient(RspClient&& other) noexcept
    : timeout(other.timeout),
      console(std::move(other.console)),
      fd_(std::exchange(other.fd_, -1)),
      acknowledge_(other.acknowledge_),
      buffer_(std::move(other.buffer_)),
      position_(other.position_) {}

RspClient::~RspClient() {
  if (fd_ >= 0) close(fd_);
}

char RspClient::next() {
  if (position_ == buffer_.size()) {
    pollfd polled{fd_, POLLIN, 0};
    if (poll(&polled, 1, static_cast<int>(timeout.count())) <= 0) fail("no answer before the deadline");
    buffer_.resize(65536);
    ssize_t n = ::read(fd_, buffer_.data(), buffer_.size());
    buffer_.resize(n > 0 ? static_cast<size_t>(n) : 0);
    position_ = 0;
    if (n <= 0) fail("the stub closed the connection");
  }
  return buffer_[position_++];
}

void RspClient::send_raw(std::string_view bytes) {
  while (!bytes.empty()) {
    ssize_t n = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail(std::string("send: ") + std::strerror(errno));
    bytes.remove_prefix(static_cast<size_t>(n));
  }
}

void RspClient::send(std::string_view payload) {
  const char sum = static_cast<char>(checksum(payload));
  send_raw("$" + std::string(payload) + "#" + to_hex({&sum, 1}));
}

std::string RspClient::receive() {
  for (;;) {
    while (next() != '$') {
    }
    std::string raw;
    for (char c = next(); c != '#'; c = next()) raw += c;
    std::string sum{next()};
    sum += next();
    const char expected = static_cast<char>(checksum(raw));
    if (to_hex({&expected, 1}) != sum) fail("wrong checksum of: " + raw);
    if (acknowledge_) send_raw("+");
    std::string reply;
    for (size_t i = 0; i < raw.size(); i++) {
      if (raw[i] == '}' && i + 1 < raw.size()) {
        reply += static_cast<char>(raw[++i] ^ 0x20);
      } else if (raw[i] == '*' && i + 1 < raw.size() && !reply.empty()) {
        reply.append(static_cast<size_t>(raw[++i] - 29), reply.back());
      } else {
        reply += raw[i];
      }
    }
    if (reply.size() > 1 && reply[0] == 'O' && reply != "OK") {
      console += from_hex(std::string_view(reply).substr(1));
      continue;
    }
    return reply;
  }
}

std::string RspClient::request(std::string_view payload) {
  send(payload);
  return receive();
}

std::string RspClient::receive_until_closed() {
  std::string all = buffer_.substr(position_);
  position_ = buffer_.size();
  std::array<char, 4096> chunk{};
  for (;;) {
    pollfd polled{fd_, POLLIN, 0};
    if (poll(&polled, 1, static_cast<int>(timeout.count())) <= 0) fail("not closed before the deadline");
    ssize_t n = ::read(fd_, chunk.data(), chunk.size());
    if (n <= 0) return all;
    all.append(chunk.data(), static_cast<size_t>(n));
  }
}

void RspClient::handshake() {
  std::string features = request("qSupported:multiprocess+;swbreak+;hwbreak+;xmlRegisters=i386;vContSupported+");
  if (features.find("QStartNoAckMode+") != std::string::npos && request("QStartNoAckMode") == "OK") {
    acknowledge_ = false;
  }
}

std::vector<std::string> RspClient::threads() {
  std::vector<std::string> ids;
  for (std::string reply = request("qfThreadInfo"); reply.starts_with("m"); reply = request("qsThreadInfo")) {
    size_t start = 1;
    while (start < reply.size()) {
      size_t end = std::min(reply.find(',', start), reply.size());
      ids.push_back(reply.substr(start, end - start));
      start = end + 1;
    }
  }
  return ids;
}

void RspClient::select(const std::string& thread) {
  if (std::string reply = request("Hg" + thread); reply != "OK") fail("Hg" + thread + " gave " + reply);
}

std::vector<uint8_t> RspClient::read(uint64_t address, size_t size) {
  std::vector<uint8_t> bytes;
  while (bytes.size() < size) {
    std::string packet = "m" + hex(address + bytes.size()) + "," + hex(size - bytes.size());
    std::string reply = request(packet);
    if (reply.size() % 2 != 0 || reply.empty()) break;  // an error is Enn: three characters
    for (char c : from_hex(reply)) bytes.push_back(static_cast<uint8_t>(c));
  }
  return bytes;
}

std::string RspClient::target_xml(const std::string& annex) {
  std::string text;
  for (;;) {
    std::string reply = request("qXfer:features:read:" + annex + ":" + hex(text.size()) + ",fff");
    if (reply.empty() || (reply[0] != 'l' && reply[0] != 'm')) fail("features of " + annex + ": " + reply);
    text += reply.substr(1);
    if (reply[0] == 'l') break;
  }
  static const Regex include("<xi:include\\s+href=\"([^\"]+)\"\\s*/>");
  RegexMatch match;
  while (regex_search(text, match, include)) {
    std::string inner = target_xml(match[1]);
    text.replace(text.find(match[0]), match[0].size(), inner);
  }
  return text;
}

std::map<std::string, std::string> RspClient::registers() {
  static const Regex reg("<reg\\s[^>]*>");
  static const Regex attribute("(name|bitsize|regnum)=\"([^\"]*)\"");
  const std::string description = without_comments(target_xml());
  const std::string block = request("g");
  std::map<std::string, std::string> result;
  std::map<uint64_t, std::pair<std::string, size_t>> by_number;
  uint64_t number = 0;
  for (const RegexMatch& element : regex_search_all(description, reg)) {
    std::string name;
    size_t digits = 0;
    // A register without a number of its own follows the one before it.
    for (const RegexMatch& a : regex_search_all(element[0], attribute)) {
      if (a[1] == "name") name = a[2];
      if (a[1] == "bitsize") digits = std::stoul(a[2]) / 4;
      if (a[1] == "regnum") number = std::stoul(a[2]);
    }
    by_number[number++] = {name, digits};
  }
  size_t position = 0;
  for (const auto& [n, what] : by_number) {
    const auto& [name, digits] = what;
    if (position + digits <= block.size()) {
      result[name] = block.substr(position, digits);
      position += digits;
    } else {
      position = block.size();
      result[name] = request("p" + hex(n));
    }
  }
  return result;
}

}  // namespace gcore::tests
