#include "tests/dump/dump_files.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <stdexcept>

namespace gcore::tests {
namespace {

template <class T>
T number(const std::string& bytes, size_t at) {
  T value;
  std::memcpy(&value, bytes.data() + at, sizeof value);
  return value;
}

std::string read_at(int fd, uint64_t offset, size_t size) {
  std::string bytes(size, '\0');
  size_t done = 0;
  while (done < size) {
    const ssize_t got = pread(fd, bytes.data() + done, size - done, static_cast<off_t>(offset + done));
    if (got <= 0) throw std::runtime_error("the core file ends early");
    done += static_cast<size_t>(got);
  }
  return bytes;
}

}  // namespace

CoreFile::CoreFile(const std::string& path) : fd_(open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
  if (fd_ < 0) throw std::runtime_error(path + ": " + std::strerror(errno));
  const std::string header = read_at(fd_, 0, 64);
  const auto table = number<uint64_t>(header, 32);
  const auto count = number<uint16_t>(header, 56);
  for (size_t i = 0; i < count; ++i) {
    const std::string entry = read_at(fd_, table + 56 * i, 56);
    const auto type = number<uint32_t>(entry, 0);
    const auto offset = number<uint64_t>(entry, 8), size = number<uint64_t>(entry, 32);
    const auto address = number<uint64_t>(entry, 24);
    if (type == 1 && read(address, 1).empty()) segments_[address] = {size, offset};  // a kernel's image comes twice
    if (type != 4) continue;
    const std::string bytes = read_at(fd_, offset, size);
    for (size_t at = 0; at + 12 <= bytes.size();) {
      const auto name_size = number<uint32_t>(bytes, at), data_size = number<uint32_t>(bytes, at + 4);
      const size_t data = at + 12 + (name_size + 3) / 4 * 4;
      notes_.push_back(
          {bytes.substr(at + 12, name_size - 1), number<uint32_t>(bytes, at + 8), bytes.substr(data, data_size)});
      at = data + (data_size + 3) / 4 * 4;
    }
  }
}

CoreFile::~CoreFile() { close(fd_); }

std::map<uint64_t, uint64_t> CoreFile::coverage() const {
  std::map<uint64_t, uint64_t> merged;
  for (const auto& [address, segment] : segments_) {
    if (!merged.empty() && merged.rbegin()->second == address) {
      merged.rbegin()->second += segment.size;
    } else {
      merged[address] = address + segment.size;
    }
  }
  return merged;
}

std::string CoreFile::read(uint64_t address, size_t size) const {
  const auto next = segments_.upper_bound(address);
  if (next == segments_.begin()) return "";
  const auto& [start, segment] = *std::prev(next);
  if (address - start >= segment.size) return "";
  return read_at(fd_, segment.offset + (address - start), std::min<uint64_t>(size, segment.size - (address - start)));
}

std::string first_difference(const CoreFile& a, const CoreFile& b) {
  constexpr size_t kPiece = 1 << 20;
  for (const auto& [start, end] : a.coverage())
    for (uint64_t at = start; at < end;) {
      std::string one = a.read(at, kPiece);
      const std::string other = b.read(at, one.size());
      one.resize(other.size());
      if (one.empty()) return std::to_string(at) + ": only in one";
      if (one != other) {
        const auto differs = std::mismatch(one.begin(), one.end(), other.begin()).first - one.begin();
        return std::to_string(at + static_cast<uint64_t>(differs));
      }
      at += one.size();
    }
  return "";
}

void expect_same(const std::string& ours, const std::string& theirs) {
  const CoreFile one(ours), other(theirs);
  EXPECT_EQ(one.coverage(), other.coverage());
  EXPECT_EQ(first_difference(other, one), "");
  ASSERT_EQ(one.notes().size(), other.notes().size());
  for (size_t i = 0; i < one.notes().size(); ++i) {
    EXPECT_EQ(one.notes()[i].name, other.notes()[i].name);
    EXPECT_EQ(one.notes()[i].bytes, other.notes()[i].bytes) << "note " << i;
  }
  EXPECT_EQ(one.notes().back().name, "VMCOREINFO");  // QEMU has it from the guest's driver
}

void save_guest(Qmp& qmp, const std::string& path) {
  qmp.execute("migrate-set-parameters", R"({"max-bandwidth": 10000000000})");
  qmp.execute("migrate-set-capabilities", R"({"capabilities": [{"capability": "events", "state": true}]})");
  // QEMU is done before cat is: the pipe named here has had a writer, and has none any more, when cat has written all.
  const std::string end = path + ".end";
  if (mkfifo(end.c_str(), 0600) != 0) throw std::runtime_error("mkfifo " + end);
  pollfd ended = {open(end.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC), POLLIN, 0};
  const std::string command = "exec:cat >" + path + "; : >" + end;
  qmp.execute("migrate", "{\"uri\": " + Qmp::quote(command) + "}");
  std::string state;
  do {
    qmp.wait_event("MIGRATION");
    state = qmp.execute("query-migrate");
    if (state.find("failed") != std::string::npos) throw std::runtime_error("migrate: " + state);
  } while (state.find("completed") == std::string::npos);
  const int is_whole = poll(&ended, 1, 60000);
  close(ended.fd);
  unlink(end.c_str());
  if (is_whole != 1) throw std::runtime_error("migrate: " + path + " is not written");
}

}  // namespace gcore::tests
