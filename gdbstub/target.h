// What a debugger is shown: the stub's only view of a dump. Pure, so that a session is tested without a file.
//
// Nothing here changes: a target is a machine that stands still. What one client has chosen (a vCPU, another root
// table, physical addresses) is in the `Space` that it passes along, so that many clients can look at one target at
// once. The methods are called from one thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <expected>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace gcore::gdbstub {

enum class Arch : uint8_t { x86_64, aarch64, i386 };

/// A root table that replaces the vCPU's own: `name` is cr3, ttbr0 or ttbr1, `value` what that register would hold.
struct Root {
  std::string name;
  uint64_t value = 0;
};

/// Which addresses are meant: those of a vCPU's address space, of another root table, or guest-physical ones.
struct Space {
  size_t cpu = 0;  // or a thread of the guest: see Target::threads()
  bool physical = false;
  std::optional<Root> root;
};

/// A thread of the guest that runs on no vCPU, as the guest's kernel keeps it.
struct GuestThread {
  uint64_t number = 0;  // what debuggers call it, unique among them and not 0: of Linux its PID
  std::string name;     // as the guest's ps has it
  std::string details;  // such as "PID 812 of 800, S"
};

/// A process of the guest, as the guest's kernel keeps it.
struct GuestProcess {
  uint64_t number = 0;
  std::string name;  // empty when it cannot be read
};

/// One of its threads, as the kernel keeps it while it does not run: with its process's root table.
struct ProcessThread {
  std::string process;
  Root root;
  std::map<std::string, uint64_t, std::less<>> registers;  // by the names of register_value()
};

/// A piece of the dump's memory by guest-physical address. Bytes from `file_size` on are not in the file and read as 0;
/// of the bytes before it `cut_off` are lost, since the file ends before them: the last ones, or, `scattered`, any.
struct Segment {
  uint64_t address = 0;
  uint64_t size = 0;
  uint64_t file_size = 0;
  uint64_t cut_off = 0;
  bool scattered = false;
};

/// A run of an address space. `size` is never 0, and start + size - 1 does not wrap.
struct Mapping {
  uint64_t start = 0;
  uint64_t size = 0;
  uint64_t physical = 0;
  uint64_t page_size = 0;
  bool read = false, write = false, execute = false, user = false;
};

/// One table entry that a page walk looked at.
struct WalkStep {
  std::string level;
  uint64_t entry_address = 0;          // guest-physical
  std::optional<uint64_t> entry = {};  // nothing when the dump lacks that memory
};

/// Significant bits of the addresses in each half of an address space.
struct AddressBits {
  std::optional<unsigned> lower = {}, upper = {};
};

/// A page walk: its steps, and either the mapping that holds the address or, in `fault`, why there is none.
struct Walk {
  std::vector<WalkStep> steps = {};
  uint64_t physical = 0;  // of the address itself, when `fault` is empty
  Mapping mapping = {};   // the page, when `fault` is empty
  std::string fault = {};
  std::string note = {};  // what is remarkable about the walk, or empty
};

/// A search in progress; see Target::search().
class Search {
 public:
  virtual ~Search() = default;
  /// A few milliseconds' work: appends addresses at which the pattern begins, ascending, but not more than `max_hits`
  /// of them; the next call goes on after the last one. False when the search is over.
  virtual bool step(std::vector<uint64_t>& hits, size_t max_hits) = 0;
  /// Why memory was left out that should have been looked at, one sentence; else empty.
  virtual std::string problem() const { return {}; }
};

/// A list of mappings in progress; see Target::list().
class MappingList {
 public:
  virtual ~MappingList() = default;
  /// A few milliseconds' work: calls `each` for the next mappings, ascending, until it returns false. False when the
  /// list is over.
  virtual bool step(const std::function<bool(const Mapping&)>& each) = 0;
  /// Once it is over: one sentence when the list, as far as it went, is not the whole truth, else empty.
  virtual std::string note() const { return {}; }
};

class Target {
 public:
  virtual ~Target() = default;

  /// What takes long, a look at much of guest memory, is done in the background from the start on. While one of these
  /// is false, a call of what it names waits for that; all else is answered at once.
  /// The memory of a space: read(), walk(), list(), search(), describe() and what explains them.
  virtual bool can_look(const Space&) const { return true; }
  /// What runs in the guest: summary(), kernel_displacement().
  virtual bool knows_guest() const { return true; }
  /// The guest's threads. They are looked for once somebody wants them.
  virtual bool knows_threads() const { return true; }
  virtual void want_threads() const {}
  /// Nothing is looked for any more.
  virtual bool settled() const { return true; }

  virtual Arch arch() const = 0;
  virtual bool big_endian() const = 0;
  /// The dump's path, for people.
  virtual std::string path() const = 0;
  /// A few lines about the dump, each ending in a newline: format, machine, vCPUs, memory, oddities.
  virtual std::string summary() const = 0;

  /// At least 1.
  virtual size_t cpu_count() const = 0;
  /// Less than cpu_count(): the vCPU that a debugger should show first.
  virtual size_t faulting_cpu() const = 0;
  /// The signal of the fault in GDB's numbering, or 0.
  virtual uint8_t signal() const = 0;
  /// Such as "vCPU 0 [kernel, CPL 0]".
  virtual std::string cpu_name(size_t cpu) const = 0;
  /// More about it, such as the process it ran; may be empty.
  virtual std::string cpu_details(size_t cpu) const = 0;
  /// A register by the name it has in writer/format/registers.h; nothing when the dump does not have it. Of aarch64
  /// also pauth_mask and pauth_mask_high: the bits of a lower and of an upper address that page tables do not look at.
  virtual std::optional<uint64_t> register_value(size_t cpu, std::string_view name) const = 0;

  /// The guest's threads that run on no vCPU; the error is one sentence. Wherever a vCPU is named by its index, thread
  /// `i` of these is named by cpu_count() + i: it has the registers that it sleeps with and its process's memory.
  virtual std::expected<std::span<const GuestThread>, std::string> threads() const {
    return std::unexpected("the guest's threads are not known");
  }

  /// The guest's processes and one thread of them, by their numbers (a process's threads count from 1), found through
  /// the kernel addresses of vCPU `cpu`. Errors are one sentence.
  virtual std::expected<std::vector<GuestProcess>, std::string> processes(size_t cpu) const {
    (void)cpu;
    return std::unexpected("the guest's processes are not known");
  }
  virtual std::expected<ProcessThread, std::string> process_thread(size_t cpu, uint64_t, uint64_t) const {
    (void)cpu;
    return std::unexpected("the guest's processes are not known");
  }

  /// The dump's memory, ascending.
  virtual std::vector<Segment> segments() const = 0;
  /// True when no vCPU has paging on, so that every address is guest-physical anyway.
  virtual bool unpaged() const = 0;
  /// Reads as many leading bytes as there are; fewer than asked means that the next one cannot be read.
  virtual size_t read(const Space& space, uint64_t address, std::span<std::byte> into) const = 0;
  /// One sentence that says why the byte at `address` cannot be read; empty when it can.
  virtual std::string why_unreadable(const Space& space, uint64_t address) const = 0;
  /// Why a byte reads as zero though the file does not have it: "it is zero: ..."; empty when the file has it.
  virtual std::string why_zero(const Space&, uint64_t) const { return ""; }
  virtual Walk walk(const Space& space, uint64_t address) const = 0;
  /// The address as page tables see it: without aarch64's tag and authentication bits.
  virtual uint64_t without_tag(const Space&, uint64_t address) const { return address; }
  /// aarch64: how many bits of an address page tables look at. Nothing where that is not known, and elsewhere.
  virtual AddressBits address_bits(const Space&) const { return {}; }
  /// The address space's runs, ascending. Physical spaces: the segments. The target outlives the list.
  virtual std::unique_ptr<MappingList> list(const Space& space) const = 0;
  /// All of that at once.
  std::string mappings(const Space& space, const std::function<bool(const Mapping&)>& each) const {
    const auto all = list(space);
    while (all->step(each)) {
    }
    return all->note();
  }
  /// Looks for `pattern` (not empty) in [first, last], in which hits lie as a whole, over the memory that there is. The
  /// error is one sentence. The target outlives the search.
  virtual std::expected<std::unique_ptr<Search>, std::string> search(const Space& space, uint64_t first, uint64_t last,
                                                                     std::string_view pattern) const = 0;
  /// Such as "x86_64, 4-level, root 0x1000 from cr3"; or why there is no such address space.
  virtual std::string describe(const Space& space) const = 0;
  /// Whether a client may look through this root as `cpu` would: where its table is. The error is one sentence.
  virtual std::expected<uint64_t, std::string> table_of(size_t cpu, const Root& root) const = 0;

  /// By how much the kernel was moved from where it was linked (KASLR), when that is known.
  virtual std::optional<uint64_t> kernel_displacement() const = 0;
  /// What the guest's kernel tells, as text. `pid`: of task and stack. The error is one sentence.
  enum class GuestText : uint8_t { messages, why, tasks, task, stack };
  virtual std::expected<std::string, std::string> kernel_text(GuestText, std::optional<uint64_t> pid) const {
    (void)pid;
    return std::unexpected("there is no guest to ask");
  }
};

}  // namespace gcore::gdbstub
