// A machine that fits on a page: what the session tests talk to instead of a dump.
#pragma once

#include <cstring>
#include <map>
#include <string>

#include "gdbstub/target.h"

namespace gcore::tests {

/// Three vCPUs of an x86_64 machine; the last one faulted. Virtual memory: 0x400000..0x402fff is physical
/// 0x1000..0x3fff; of that, 0x3000..0x3fff is not in the dump. Kernel: 0xffffffff80000000..+0x2fff is the same memory.
/// The last page of the address space is physical 0x1000.
class FakeTarget : public gdbstub::Target {
 public:
  FakeTarget() {
    memory_.resize(0x3000, '\0');
    for (size_t i = 0; i < 256; ++i) memory_[0x1000 + i] = static_cast<char>(i);
    std::memcpy(memory_.data() + 0x2ff0, "needle at an end", 16);
  }

  gdbstub::Arch arch() const override { return machine; }
  bool big_endian() const override { return big; }
  std::string path() const override { return "/dumps/fake.gcore"; }
  std::string summary() const override { return "a fake dump\n"; }
  size_t cpu_count() const override { return cpus; }
  size_t faulting_cpu() const override { return cpus - 1; }
  uint8_t signal() const override { return fault_signal; }
  std::string cpu_name(size_t cpu) const override {
    return cpu >= cpus ? tasks[cpu - cpus].name : "vCPU " + std::to_string(cpu) + " [kernel, CPL 0]";
  }
  std::string cpu_details(size_t cpu) const override {
    return cpu >= cpus ? tasks[cpu - cpus].details : cpu == 0 ? "process <init> & \"co\"" : "";
  }
  std::optional<uint64_t> register_value(size_t cpu, std::string_view name) const override {
    if (const auto found = registers.find(std::string(name)); found != registers.end()) return found->second + cpu;
    return std::nullopt;
  }

  std::vector<gdbstub::Segment> segments() const override { return {{0, 0x3000, 0x3000}, {0x3000, 0x1000, 0}}; }
  bool unpaged() const override { return flat; }

  size_t read(const gdbstub::Space& space, uint64_t address, std::span<std::byte> into) const override {
    ++reads;
    size_t done = 0;
    while (done < into.size()) {
      const auto physical = translate(space, address + done);
      if (!physical || *physical >= memory_.size()) break;
      const size_t run = std::min({into.size() - done, size_t{0x1000} - *physical % 0x1000});
      std::memcpy(into.data() + done, memory_.data() + *physical, run);
      done += run;
      if (address + done == 0) break;
    }
    return done;
  }
  std::string why_unreadable(const gdbstub::Space& space, uint64_t address) const override {
    const auto physical = translate(space, address);
    if (!physical) return "nothing is mapped there";
    return *physical < memory_.size() ? "" : "the dump's writer left it out";
  }
  uint64_t without_tag(const gdbstub::Space&, uint64_t address) const override {
    return machine == gdbstub::Arch::aarch64 ? address & ~(uint64_t{0xff} << 56) : address;
  }
  gdbstub::AddressBits address_bits(const gdbstub::Space&) const override { return bits; }
  gdbstub::Walk walk(const gdbstub::Space& space, uint64_t address) const override {
    gdbstub::Walk walk{.steps = {{"PML4E", 0x8000, 0x9003}, {"PTE", 0x9000, entry}}};
    if (const auto physical = translate(space, address)) {
      walk.physical = *physical;
      walk.mapping = {address, 1, *physical, 4096, true, true, false, false};
    } else {
      walk.fault = "PTE at 0x9000 is 0x0: not present";
    }
    return walk;
  }
  std::unique_ptr<gdbstub::MappingList> list(const gdbstub::Space& space) const override {
    auto list = std::make_unique<FakeList>();
    list->remark = note;
    if (space.physical || flat)
      list->all = {{0, 0x4000, 0, 0, true, true, true, true}};
    else
      list->all = {{0x400000, 0x3000, 0x1000, 4096, true, true, false, true},
                   {0xffffffff80000000, 0x3000, 0x1000, 4096, true, false, true, false},
                   {0xfffffffffffff000, 0x1000, 0x1000, 4096, true, true, false, false}};
    return list;
  }
  bool can_look(const gdbstub::Space& space) const override { return !searching || space.physical; }
  bool knows_guest() const override { return !searching; }
  bool settled() const override { return !searching; }
  std::expected<std::unique_ptr<gdbstub::Search>, std::string> search(const gdbstub::Space& space, uint64_t first,
                                                                      uint64_t last,
                                                                      std::string_view pattern) const override {
    auto search = std::make_unique<FakeSearch>();
    search->trouble = note;
    mappings(space, [&](const gdbstub::Mapping& mapping) {
      std::string bytes(mapping.size, '\0');
      bytes.resize(read(space, mapping.start, std::as_writable_bytes(std::span(bytes))));
      for (size_t at = bytes.find(pattern); at != std::string::npos; at = bytes.find(pattern, at + 1))
        if (mapping.start + at >= first && mapping.start + at + (pattern.size() - 1) <= last)
          search->found.push_back(mapping.start + at);
      return true;
    });
    return search;
  }
  std::string describe(const gdbstub::Space& space) const override {
    if (space.physical) return "guest-physical addresses";
    return space.root ? "root " + std::to_string(space.root->value) + " from " + space.root->name
                      : "root 0x8000 from cr3";
  }
  std::expected<uint64_t, std::string> table_of(size_t, const gdbstub::Root& root) const override {
    if (root.name != "cr3") return std::unexpected("this machine has no \"" + root.name + "\"");
    return root.value & ~uint64_t{0xfff};
  }
  std::optional<uint64_t> kernel_displacement() const override { return displacement; }
  std::expected<std::string, std::string> kernel_text(GuestText, std::optional<uint64_t>) const override {
    return std::unexpected("no ring");
  }

  std::expected<std::span<const gdbstub::GuestThread>, std::string> threads() const override {
    if (tasks.empty()) return std::unexpected("there is no kernel that is known");
    return std::span<const gdbstub::GuestThread>(tasks);
  }
  bool knows_threads() const override { return !searching; }

  gdbstub::Arch machine = gdbstub::Arch::x86_64;
  bool big = false, flat = false;
  bool searching = false;  // in the background
  size_t cpus = 3;
  mutable size_t reads = 0;  // calls of read()
  uint8_t fault_signal = 0;
  std::optional<uint64_t> displacement;
  std::optional<uint64_t> entry = 0x1003;  // of the last table; nothing: it cannot be read
  gdbstub::AddressBits bits;
  std::vector<gdbstub::GuestThread> tasks;
  std::string note;  // what lists of mappings and searches leave out
  /// The value on vCPU 0; each next vCPU has one more.
  std::map<std::string, uint64_t> registers = {{"rax", 0x1122334455667788},
                                               {"rip", 0xffffffff80000010},
                                               {"cs", 0x10},
                                               {"rflags", 0x246},
                                               {"cr3", 0x8000},
                                               {"st0.lo", 1},
                                               {"st0.hi", 0x3fff},
                                               {"xmm0.lo", 2},
                                               {"fip", 0x500000007}};

 private:
  /// One mapping a step.
  struct FakeList : gdbstub::MappingList {
    bool step(const std::function<bool(const gdbstub::Mapping&)>& each) override {
      return next < all.size() && each(all[next++]) && next < all.size();
    }
    std::string note() const override { return remark; }
    std::vector<gdbstub::Mapping> all;
    size_t next = 0;
    std::string remark;
  };

  /// Takes its time: the first step finds nothing yet.
  struct FakeSearch : gdbstub::Search {
    bool step(std::vector<uint64_t>& hits, size_t max_hits) override {
      for (size_t i = 0; started && i < max_hits && next < found.size(); ++i) hits.push_back(found[next++]);
      const bool more = !started || next < found.size();
      started = true;
      return more;
    }
    std::string problem() const override { return trouble; }
    std::string trouble;
    std::vector<uint64_t> found;
    size_t next = 0;
    bool started = false;
  };

  std::optional<uint64_t> translate(const gdbstub::Space& space, uint64_t address) const {
    if (space.physical || flat) return address < 0x4000 ? std::optional(address) : std::nullopt;
    if (address >= 0x400000 && address < 0x403000) return address - 0x400000 + 0x1000;
    if (address >= 0xffffffff80000000 && address < 0xffffffff80003000) return address - 0xffffffff80000000 + 0x1000;
    if (address >= 0xfffffffffffff000) return address - 0xfffffffffffff000 + 0x1000;
    return std::nullopt;
  }

  std::string memory_;
};

}  // namespace gcore::tests
