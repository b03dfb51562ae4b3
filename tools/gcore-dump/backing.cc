// Which file a RAM block maps: QEMU's word, held against /proc.
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <sstream>

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

constexpr char kAsQemu[] = "run as QEMU's user, or as root, gcore-dump reads it directly";

/// The file that an address of QEMU's is of, as /proc/PID/maps has it.
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

std::string proc(int task, const char* what) { return "/proc/" + std::to_string(task) + "/" + what; }

std::optional<Mapping> find_mapping(int task, uint64_t address) {
  std::ifstream maps(proc(task, "maps"));
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

void set_error(Backing& backing, const std::string& attempted, int code) {
  backing.why_not = attempted + std::strerror(code);
  if (code == EACCES || code == EPERM) backing.remedy = kAsQemu;
}

/// Opens `path` for reading if it is the file that is meant (any file, when nothing is known).
base::UniqueFd open_file(const std::string& path, const std::optional<Mapping>& meant, Backing& backing) {
  base::UniqueFd file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  struct stat facts;
  if (!file || fstat(file.get(), &facts) != 0) {
    set_error(backing, "", errno);
  } else if (!S_ISREG(facts.st_mode)) {
    backing.why_not = "it is no regular file";
  } else if (meant && (facts.st_dev != meant->device || facts.st_ino != meant->inode)) {
    backing.why_not = "it is another file than the one that QEMU has mapped";
  } else {
    return file;
  }
  return base::UniqueFd();
}

/// The file among those that QEMU holds open: a memfd, a deleted file, or one in another mount namespace.
base::UniqueFd search_open_files(int task, const Mapping& meant, Backing& backing) {
  const std::string folder = proc(task, "fd");
  DIR* list = opendir(folder.c_str());
  if (!list) {
    set_error(backing, "cannot look into " + folder + ": ", errno);
    return base::UniqueFd();
  }
  base::UniqueFd found;
  while (const dirent* entry = readdir(list)) {
    const std::string path = folder + "/" + entry->d_name;
    struct stat facts;
    if (stat(path.c_str(), &facts) != 0 || facts.st_dev != meant.device || facts.st_ino != meant.inode) continue;
    found = open_file(path, meant, backing);
    if (found) break;
  }
  closedir(list);
  return found;
}

/// The ids that a task has in its PID namespaces, from ours to its own: the line NSpid of its status. Empty: no such
/// task here.
std::vector<int> ids_of(int task) {
  std::ifstream status(proc(task, "status"));
  for (std::string line; std::getline(status, line);)
    if (line.starts_with("NSpid:")) {
      std::istringstream numbers(line.substr(6));
      return {std::istream_iterator<int>(numbers), std::istream_iterator<int>()};
    }
  return {};
}

/// Whether a thread of the process has this id in its own namespace.
bool has_thread(int process, int id) {
  std::error_code problem;
  for (std::filesystem::directory_iterator entry(proc(process, "task"), problem), end; !problem && entry != end;
       entry.increment(problem))
    if (const auto ids = ids_of(std::atoi(entry->path().filename().c_str())); !ids.empty() && ids.back() == id)
      return true;
  return false;
}

bool is_called_qemu(int task) {
  std::string name;
  int process = 0;
  std::ifstream status(proc(task, "status"));
  for (std::string line; std::getline(status, line) && process == 0;)
    if (line.starts_with("Tgid:")) process = std::atoi(line.c_str() + 5);
  std::getline(std::ifstream(proc(process, "comm")), name);
  return name.find("qemu") != std::string::npos || name.find("kvm") != std::string::npos;
}

/// What of QEMU's processes this one may not see or look into.
void explain_closed_proc(int task, Backing& backing) {
  backing.why_not = "its file has no name, and /proc does not lead to it";
  if (task > 0) {
    backing.why_not += ": " + proc(task, "maps") + " is another user's";
    backing.remedy = kAsQemu;
  } else {
    backing.why_not += ": QEMU's process is not to be seen from here";
    backing.remedy = "run in QEMU's PID namespace, or in that of the host, gcore-dump reads it directly";
  }
}

}  // namespace

int qemu_task(Qmp& qmp) {
  const auto answer = qmp.execute("query-cpus-fast");
  const json::Array* cpus = answer ? answer->getAsArray() : nullptr;
  const json::Object* first = cpus && !cpus->empty() ? cpus->front().getAsObject() : nullptr;
  const int64_t number = first ? first->getInteger("thread-id").value_or(0) : 0;
  const int peer = qmp.peer_pid(), thread = number > 0 && number <= INT32_MAX ? static_cast<int>(number) : 0;
  if (peer <= 0 || thread == 0) return 0;
  // The thread's number is of QEMU's own namespace: here it may be anybody's.
  if (has_thread(peer, thread)) return peer;
  // Somebody else made the socket (libvirt), in this namespace; then QEMU is here, too.
  const bool is_here = ids_of(peer).size() == 1 && ids_of(thread).size() == 1;
  return is_here && is_called_qemu(thread) ? thread : 0;
}

Backing find_backing(Qmp& qmp, const RamRegion& sample, int task) {
  Backing backing;
  backing.block = sample.block;
  const Backend backend = ask_backend(qmp, sample.block);
  backing.device = !backend.known;
  backing.name = backend.path.empty() ? backend.type : backend.path;
  const auto address = task > 0 ? host_address(qmp, sample.address) : std::nullopt;
  const std::optional<Mapping> mapping = address ? find_mapping(task, *address) : std::nullopt;
  if (mapping && *address >= sample.offset) backing.host = *address - sample.offset;
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
    const std::string path =
        backend.path.starts_with('/') || task <= 0 ? backend.path : proc(task, "cwd/") + backend.path;
    backing.file = open_file(path, mapping, backing);
    if (backing.file) return backing;
    backing.why_not = "cannot open " + backend.path + ": " + backing.why_not;
  }
  if (mapping) {
    backing.file = search_open_files(task, *mapping, backing);
    if (!backing.file && backing.why_not.empty())
      backing.why_not = "QEMU shares it without a file that can be opened (" + backing.name + ",share=on)";
  } else if (backing.why_not.empty()) {
    explain_closed_proc(task, backing);
  }
  return backing;
}

}  // namespace gcore::tools::qemu
