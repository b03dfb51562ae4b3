// The threads of a dump's guest that run on no vCPU, as its kernel keeps them. Internal to the stub; it knows the
// reader.
#pragma once

#include <cstddef>
#include <expected>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "gdbstub/target.h"
#include "reader/guest/guest.h"

namespace gcore::gdbstub {

struct DumpThreads {
  std::vector<GuestThread> list;  // in the order of the kernel's list
  /// What belongs to each of them, by its place: the registers that it sleeps with, and its process's root table (none:
  /// a thread of the kernel).
  struct State {
    format::RegisterFile registers;
    std::optional<reader::PhysAddr> root;
  };
  std::vector<State> states;
  std::map<size_t, std::string> on_cpu;  // what runs on a vCPU: "bash, PID 812"
};

/// Reads what the guest's kernel says of its threads: a second's work in a large guest. The error is one sentence.
std::expected<DumpThreads, std::string> find_threads(const reader::Guest& guest);

/// A QNX guest's processes, and a thread of one of them, through the kernel addresses of a vCPU. `root`: the register
/// that holds a process's root table. Errors are one sentence.
std::expected<std::vector<GuestProcess>, std::string> qnx_processes(const reader::Guest& guest, size_t cpu);
std::expected<ProcessThread, std::string> qnx_thread(const reader::Guest& guest, size_t cpu, const char* root,
                                                     uint64_t process, uint64_t thread);

}  // namespace gcore::gdbstub
