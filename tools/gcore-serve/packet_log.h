// `--log`: every packet, a line each.
#pragma once

#include <cstddef>
#include <cstdio>
#include <expected>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace gcore::tools {

class PacketLog {
 public:
  /// A file that is read while the log is written, and must not be the log as well.
  struct ReadFile {
    std::string_view what;  // as in "that is the dump itself"
    std::string path;       // "-" is standard input
  };

  /// Opens or makes the file, and empties it unless it is one of those that are read, whatever it is called. The error
  /// is the reason only.
  static std::expected<PacketLog, std::string> open(const std::string& path, std::span<const ReadFile> read);

  /// "CLIENT > PAYLOAD", or < to the client. Of a long packet the beginning, and how long it is. After a failure
  /// nothing is written any more: a log with holes would mislead.
  void write(size_t client, char direction, std::string_view payload);

  /// Why it is not whole, or "".
  const std::string& failure() const { return failure_; }

 private:
  struct CloseFile {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  explicit PacketLog(std::FILE* file) : file_(file) {}

  std::unique_ptr<std::FILE, CloseFile> file_;
  std::string failure_;
};

}  // namespace gcore::tools
