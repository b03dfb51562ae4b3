#include "tools/gcore-serve/packet_log.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "tools/common/program.h"

namespace gcore::tools {
namespace {

constexpr size_t kMaxLogged = 2048;  // of a packet; a dump read as a whole would else be in the log as a whole

bool is_same_file(const struct stat& one, const std::string& path) {
  struct stat other{};
  return stat(path == "-" ? "/dev/stdin" : path.c_str(), &other) == 0 && one.st_dev == other.st_dev &&
         one.st_ino == other.st_ino;
}

}  // namespace

std::expected<PacketLog, std::string> PacketLog::open(const std::string& path, std::span<const ReadFile> read) {
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
  if (fd < 0) return std::unexpected(std::strerror(errno));
  std::FILE* const file = fdopen(fd, "w");
  if (file == nullptr) {
    close(fd);
    return std::unexpected(std::strerror(errno));
  }
  PacketLog log(file);
  struct stat status{};
  if (fstat(fd, &status) != 0) return std::unexpected(std::strerror(errno));
  for (const ReadFile& each : read)
    if (is_same_file(status, each.path)) return std::unexpected(fmt::format("that is {} itself", each.what));
  if (S_ISREG(status.st_mode) && ftruncate(fd, 0) != 0) return std::unexpected(std::strerror(errno));
  return log;
}

void PacketLog::write(size_t client, char direction, std::string_view payload) {
  if (!failure_.empty()) return;
  const std::string more = payload.size() > kMaxLogged ? fmt::format(" ... ({} bytes)", payload.size()) : "";
  const std::string text = printable(payload.substr(0, kMaxLogged));
  if (std::fprintf(file_.get(), "%zu %c %s%s\n", client, direction, text.c_str(), more.c_str()) < 0 ||
      std::fflush(file_.get()) != 0)
    failure_ = std::strerror(errno);
}

}  // namespace gcore::tools
