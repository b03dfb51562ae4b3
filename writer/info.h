// Section .gcore.info: what the file's format has no place for, as one JSON object.
//
//     {"format": 1,                      raised when a field changes its meaning
//      "program": "my-vmm 1.2",          Options::program
//      "writer": "gcore 0.1.0",
//      "vm": "qnx7", "host": "build3",
//      "machine": "x86_64", "dialect": "qnx",
//      "requested_ns": 1503317179000000000,    since 1970, UTC
//      "reason": {"kind": "signal", "detail": "SIGUSR2", "signal": 0, "cpu": 0},
//      "pause_ns": 1234567,
//      "consistency": "paused",          all memory was copied while every vCPU was paused; "snapshot": it is of one
//                                        moment, the guest going on; "torn": of none, somebody else let the guest go on
//      "source_defects": ["..."], "source_defects_count": 1,   what was wrong with the dump that this one was made of
//      "complete": true,                 false: a partial dump, see the program headers
//      "pages": {"size": 4096, "written": 1, "zero": 2, "absent": 3, "missing": 4},
//      "vcpus": {"count": 4, "left_out": [2], "pr_pid": "threads"},   pr_pid: where notes do not number vCPUs with it
//      "unavailable_vcpus": 3,           how many lack a register that their notes have room for, and hold a 0 for
//      "unavailable": [{"vcpu": 1, "registers": "xcr0 dr0"}, {"vcpu": 2, "to": 3, "registers": "cr3"}],
//      "missing_ranges": 2,
//      "missing": [["0x1000", "0x2000"]]}      [address, size]: zeros in the file because they could not be read
//
// Of a dump that is written again (Options::earlier), what that one does not say is left out: "requested_ns", "kind"
// and "detail" of the reason, "pause_ns", "consistency".
//
// It is always one whole object of valid JSON in UTF-8. A byte that is no part of a character in UTF-8 is taken as
// Latin-1. Texts are cut off after kLongestText bytes, lists where they do not fit: vcpus.count less the vCPUs that
// have records, unavailable_vcpus, missing_ranges and pages.missing still count all.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "writer/dump.h"
#include "writer/state.h"

namespace gcore::writer {

/// The size of the section: known before its contents are. The object is padded with blanks and ends in a newline.
inline constexpr size_t kInfoSize = 16384;

/// A text takes at most so many bytes, escapes included.
inline constexpr size_t kLongestText = 1024;

/// "api", "signal", "watchdog", "panic".
const char* kind_name(Reason::Kind kind);

struct Info {
  std::string program, vm;
  Dialect dialect;
  Reason reason;
  EarlierDump taken;  // this dump itself, or what is known of the one that is written again
  bool complete;
  PageCounts pages;
  uint64_t missing_ranges;
  std::vector<std::pair<uint64_t, uint64_t>> missing;  // address, size; the first of them
};

/// Exactly kInfoSize bytes.
std::string info_json(const Info& info, const GuestState& state);

}  // namespace gcore::writer
