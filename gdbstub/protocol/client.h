// What one client has negotiated and chosen, and what a packet handler is: a function from a packet to exactly one
// reply.
//
// Internal to the stub. Handlers never send: they return, so that none of them can reply twice or not at all.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "gdbstub/protocol/session.h"
#include "gdbstub/target.h"

namespace gcore::gdbstub {

struct Client {
  const Target& target;
  const SessionOptions& options;

  size_t cpu;                                           // what Hg selected; or a thread of the guest
  std::optional<size_t> monitor_choice = std::nullopt;  // what `monitor cpu` selected
  bool physical = false;
  std::optional<Root> root = std::nullopt;

  bool multiprocess = false;   // thread ids are pPROCESS.THREAD
  bool error_text = false;     // errors may be E.TEXT
  bool binary_upload = false;  // `x` replies start with b
  bool no_ack = false;
  bool extended = false;  // speaks the extended protocol: may leave and attach again
  bool lldb = false;      // has asked what only LLDB asks
  bool placed = false;    // LLDB has asked where the offered file is

  bool tasks = false;                                         // the guest's threads are shown after the vCPUs
  std::unordered_map<uint64_t, size_t> tasks_by_number = {};  // their places, once one was looked for

  bool described = false;  // has read the target description, and so numbers registers as it says

  size_t listed_threads = 0;  // how far qsThreadInfo has come
  // qXfer:threads, made once: a debugger asks for it piece by piece, and again and again.
  std::string threads_document = {};
  std::map<uint64_t, const ExecFile*> open_files = {};  // by descriptor: one for each time that a file was opened

  /// A process's thread in place of a vCPU, by `monitor pid`: its registers and its address space.
  struct Process {
    size_t cpu;
    ProcessThread thread;
  };
  std::optional<Process> process = std::nullopt;

  bool is_cpu(size_t which) const { return which < target.cpu_count(); }
  /// The guest's threads, where they are shown.
  std::span<const GuestThread> shown_tasks() const {
    if (!tasks) return {};
    return target.threads().value_or(std::span<const GuestThread>());
  }
  size_t thread_count() const { return target.cpu_count() + shown_tasks().size(); }

  /// The file that is offered; null: none, or not yet.
  const ExecFile* file() const {
    if (options.exec_file != nullptr || options.made_file == nullptr) return options.exec_file;
    return options.made_file->file();
  }
  bool took_made_file = false;  // which has the running kernel's addresses
  bool offers_libraries() const { return options.made_file != nullptr && options.made_file->has_libraries(); }
  bool offers_file() const { return options.exec_file != nullptr || options.made_file != nullptr; }

  Space space_of(size_t which) const {
    if (!root && process && process->cpu == which) return {which, physical, process->thread.root};
    return {which, physical, root};
  }
  Space space() const { return space_of(cpu); }

  /// What monitor commands are about. A choice of its own, since GDB takes for granted that Hg stays as it was.
  size_t monitor_cpu() const { return monitor_choice.value_or(cpu); }
  Space monitor_space() const { return space_of(monitor_cpu()); }

  std::optional<uint64_t> register_value(size_t which, std::string_view name) const {
    if (!process || process->cpu != which) return target.register_value(which, name);
    const auto found = process->thread.registers.find(name);
    return found == process->thread.registers.end() ? std::nullopt : std::optional(found->second);
  }
};

struct Reply;

/// Work that takes longer than a client may hold up the others: done in slices of a few milliseconds.
class Task {
 public:
  virtual ~Task() = default;
  /// Does a slice; a reply when the work is done.
  virtual std::optional<Reply> step() = 0;
  /// The reply when the client interrupts it.
  virtual Reply cancelled() = 0;
  /// It waits for somebody else's work: a step now does nothing.
  virtual bool waiting() const { return false; }
};

struct Reply {
  std::string packet;                    // the payload; empty: "not supported"
  std::vector<std::byte> memory = {};    // the payload in its place, when it is not empty: goes out in hex
  std::string console = {};              // text for the user, sent before the packet
  bool run_length = true;                // false where clients want binary data without run-length encoding
  bool silent = false;                   // only for `k`: no packet at all
  bool close = false;                    // the conversation ends with this reply
  std::unique_ptr<Task> task = nullptr;  // when set, the reply is what the task comes to
};

using Handler = Reply (*)(Client&, std::string_view arguments);
/// What a packet asks about, which may not be known yet: see Target::can_look() and Target::knows_guest().
enum class Asks : uint8_t { nothing, space, guest, threads, file, libraries, all };
struct NamedHandler {
  std::string_view name;  // the packet up to its first : ; , or a single letter
  Handler run;            // gets what follows the name, and the separator with it for named packets
  Asks asks = Asks::nothing;
};

/// What `run` replies, once it is known what it asks about.
Reply when_known(const Client& client, Asks what, std::function<Reply()> run);

/// An error reply: `why` for clients that take text, E01 for the others.
Reply error(const Client& client, std::string_view why);
Reply ok();

/// Thread ids are vCPU index + 1, of process 1; those of the guest's threads, which are threads of that process too,
/// lie above all vCPUs': GDB keeps nothing of one thread's memory for another, so that what processes have at one
/// address cannot be mixed up.
inline constexpr uint64_t kFirstTaskId = 10'000'000;
uint64_t thread_number(const Client& client, size_t cpu);
std::string thread_id(const Client& client, size_t cpu);
/// The vCPU or thread that an id of either form names. `any` is what 0 and -1 mean.
std::optional<size_t> parse_thread(Client& client, std::string_view id, size_t any);
/// Shows the guest's threads, or vCPUs only.
void show_tasks(Client& client, bool on);
/// The stop reply that names this vCPU.
std::string stop_reply(const Client& client, size_t cpu, uint8_t signal);
/// vCPUs in the order in which they are listed: that of the fault first.
size_t listed_cpu(const Client& client, size_t position);

/// "ADDRESS,LENGTH" in hex.
struct AddressLength {
  uint64_t address, length;
};
std::optional<AddressLength> parse_address_length(std::string_view text, char separator = ',');

/// The part of `document` that "OFFSET,LENGTH" asks for, as qXfer replies have it.
Reply document_part(const Client& client, std::string_view document, std::string_view range);

/// Text that may stand in XML content and attributes.
std::string xml_escape(std::string_view text);
/// A JSON string with its quotation marks.
std::string json_string(std::string_view text);

// The packets, grouped by purpose; each list is in the file of that name.
std::span<const NamedHandler> control_handlers();
std::span<const NamedHandler> file_handlers();
std::span<const NamedHandler> lldb_handlers();
std::span<const NamedHandler> memory_handlers();
std::span<const NamedHandler> query_handlers();
std::span<const NamedHandler> thread_handlers();

/// `monitor COMMAND`.
Reply run_monitor(Client& client, std::string_view command);

}  // namespace gcore::gdbstub
