// Which file is behind a RAM block: QEMU's word, held against /proc.
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <optional>

#include "tools/gcore-dump/memory.h"

namespace gcore::tools::qemu {
namespace {

namespace json = llvm::json;

/// What QEMU says of a memory backend.
struct Backend {
  bool known = false;  // it is a memory backend at all
  bool share = false;
  std::string type;     // "memory-backend-file"; "" when not known
  std::string path;     // mem-path
  uint64_t offset = 0;  // QEMU 8.1: where in the file the block starts
};

/// The file behind an address of QEMU's, as /proc/PID/maps has it.
struct Mapping {
  dev_t device = 0;
  ino_t inode = 0;
  bool shared = false;
  uint64_t offset = 0;  // of the address in the file
};

std::optional<json::Value> property(Qmp& qmp, const std::string& object, const char* name) {
  auto answer = qmp.execute("qom-get", json::Object{{"path", object}, {"property", name}});
  return answer ? std::optional(std::move(*answer)) : std::nullopt;
}

std::string text_property(Qmp& qmp, const std::string& object, const char* name) {
  const auto value = property(qmp, object, name);
  const auto text = value ? value->getAsString() : std::nullopt;
  return text ? text->str() : "";
}

/// The backend's object: /objects/ID for one of the user's, or the machine's own for plain -m.
Backend ask_backend(Qmp& qmp, const std::string& block) {
  Backend backend;
  std::string object = "/objects/" + block;
  backend.type = text_property(qmp, object, "type");
  if (backend.type.empty()) {
    object = text_property(qmp, "/machine", "memory-backend");
    if (!object.ends_with("/" + block)) return backend;
    backend.type = text_property(qmp, object, "type");
  }
  if (!backend.type.starts_with("memory-backend")) return backend;
  backend.known = true;
  backend.path = text_property(qmp, object, "mem-path");
  if (const auto share = property(qmp, object, "share")) backend.share = share->getAsBoolean().value_or(false);
  if (backend.type == "memory-backend-file")  // others have none, and asking costs nothing but a refusal
    if (const auto offset = property(qmp, object, "offset")) backend.offset = offset->getAsUINT64().value_or(0);
  return backend;
}

/// "Host virtual address for 0x100000 (mem) is 0x7f10000ff000"
std::optional<uint64_t> host_address(Qmp& qmp, uint64_t address) {
  char command[48];
  std::snprintf(command, sizeof command, "gpa2hva 0x%" PRIx64, address);
  const auto said = qmp.human(command);
  const size_t at = said ? said->rfind(" is 0x") : std::string::npos;
  if (at == std::string::npos) return std::nullopt;
  uint64_t value = 0;
  const char* first = said->data() + at + 6;
  if (std::from_chars(first, said->data() + said->size(), value, 16).ec != std::errc()) return std::nullopt;
  return value;
}

std::optional<Mapping> find_mapping(int thread, uint64_t address) {
  std::ifstream maps("/proc/" + std::to_string(thread) + "/maps");
  for (std::string line; std::getline(maps, line);) {
    uint64_t start = 0, end = 0, offset = 0, inode = 0;
    unsigned device_major = 0, device_minor = 0;
    char flags[5] = "";
    if (std::sscanf(line.c_str(), "%" SCNx64 "-%" SCNx64 " %4s %" SCNx64 " %x:%x %" SCNu64, &start, &end, flags,
                    &offset, &device_major, &device_minor, &inode) != 7)
      continue;
    if (address < start || address >= end) continue;
    return Mapping{makedev(device_major, device_minor), static_cast<ino_t>(inode), flags[3] == 's',
                   offset + (address - start)};
  }
  return std::nullopt;
}

/// Opens `path` for reading if it is the file that is meant (any file, when nothing is known).
UniqueFd open_file(const std::string& path, const std::optional<Mapping>& meant, std::string& why_not) {
  UniqueFd file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  struct stat facts;
  if (!file.valid() || fstat(file.get(), &facts) != 0) {
    why_not = std::strerror(errno);
  } else if (!S_ISREG(facts.st_mode)) {
    why_not = "it is no regular file";
  } else if (meant && (facts.st_dev != meant->device || facts.st_ino != meant->inode)) {
    why_not = "it is another file than the one that QEMU has mapped";
  } else {
    return file;
  }
  return UniqueFd();
}

/// The file among those that QEMU holds open: a memfd, a deleted file, or one in another mount namespace.
UniqueFd search_open_files(int thread, const Mapping& meant, std::string& why_not) {
  const std::string folder = "/proc/" + std::to_string(thread) + "/fd";
  DIR* list = opendir(folder.c_str());
  if (!list) {
    why_not = "cannot look into " + folder + ": " + std::strerror(errno);
    return UniqueFd();
  }
  UniqueFd found;
  while (const dirent* entry = readdir(list)) {
    const std::string path = folder + "/" + entry->d_name;
    struct stat facts;
    if (stat(path.c_str(), &facts) != 0 || facts.st_dev != meant.device || facts.st_ino != meant.inode) continue;
    found = open_file(path, meant, why_not);
    if (found.valid()) break;
  }
  closedir(list);
  return found;
}

}  // namespace

int qemu_thread(Qmp& qmp) {
  const auto answer = qmp.execute("query-cpus-fast");
  const json::Array* cpus = answer ? answer->getAsArray() : nullptr;
  const json::Object* first = cpus && !cpus->empty() ? cpus->front().getAsObject() : nullptr;
  const int64_t thread = first ? first->getInteger("thread-id").value_or(0) : 0;
  return thread > 0 && thread <= INT32_MAX ? static_cast<int>(thread) : qmp.peer_pid();
}

Backing find_backing(Qmp& qmp, const RamRegion& sample, int thread) {
  Backing backing;
  backing.block = sample.block;
  const Backend backend = ask_backend(qmp, sample.block);
  backing.device = !backend.known;
  backing.name = backend.path.empty() ? backend.type : backend.path;
  const auto address = thread > 0 ? host_address(qmp, sample.address) : std::nullopt;
  const std::optional<Mapping> mapping = address ? find_mapping(thread, *address) : std::nullopt;
  if (mapping) {
    if (!mapping->shared || mapping->inode == 0 || mapping->offset < sample.offset) {
      backing.why_not = !backend.known         ? "a device's"
                        : backend.path.empty() ? "QEMU keeps it private"
                                               : backend.path + " is mapped privately (share=off)";
      return backing;
    }
    backing.start = mapping->offset - sample.offset;
  } else {
    if (!backend.known || !backend.share) {
      backing.why_not = backend.known ? "QEMU keeps it private (share=off)" : "a device's";
      return backing;
    }
    backing.start = backend.offset;
  }
  if (!backend.path.empty()) {
    const std::string root = "/proc/" + std::to_string(thread);
    const std::string path =
        backend.path.starts_with('/') || thread <= 0 ? backend.path : root + "/cwd/" + backend.path;
    backing.file = open_file(path, mapping, backing.why_not);
    if (backing.file.valid()) return backing;
    backing.why_not = "cannot open " + backend.path + ": " + backing.why_not;
  }
  if (mapping) {
    backing.file = search_open_files(thread, *mapping, backing.why_not);
  } else if (backing.why_not.empty()) {
    backing.why_not = "its file has no name, and /proc does not lead to it";
  }
  return backing;
}

}  // namespace gcore::tools::qemu
