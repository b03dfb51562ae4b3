// The registers as debuggers number them, and the target description that tells them so.
//
// Names and numbers are those of QEMU's stub, which scripts rely on; numbers that QEMU does not use come after them.
// The `g` packet holds the registers 0 to g_count - 1; the rest, the system registers among them, are read one by one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "gdbstub/target.h"

namespace gcore::gdbstub {

struct Client;

struct Register {
  const char* name;     // as debuggers show it
  uint16_t number;      // as they number it
  uint8_t bytes;        // its width towards the debugger
  const char* type;     // in the target description
  const char* group;    // likewise; "" for none
  const char* feature;  // likewise
  const char* low;      // what Target::register_value calls it, or its lower 64 bits
  const char* high;     // its bits from 64 on; "" when it has none
  uint8_t shift = 0;    // bits of the source below the value
};

/// Of the registers in the description, those that it has only where the dump has values for them.
inline constexpr char kAvxFeature[] = "org.gnu.gdb.i386.avx", kPauthFeature[] = "org.gnu.gdb.aarch64.pauth_v2";

struct RegisterSet {
  std::span<const Register> all;  // ascending by number, without gaps
  size_t g_count;
  size_t undescribed_count;               // those that debuggers know without a description, first in `g`
  size_t program_counter, stack_pointer;  // numbers
};

const RegisterSet& register_set(Arch arch);

/// Whether the dump has the register of the client's thread, all of it.
bool has_register(const Client& client, const Register& reg);
/// The register of the client's thread in the target's byte order and in hex; `x` for each digit of one that the dump
/// does not have.
std::string register_hex(const Client& client, const Register& reg);
/// The whole `g` reply. A client that has not read the description expects its own numbers: it gets what both agree on.
std::string general_registers_hex(const Client& client);

/// Looks a register up by name, regardless of case.
const Register* find_register(Arch arch, std::string_view name);

/// The document that qXfer:features:read:target.xml serves.
std::string target_xml(const Target& target);

}  // namespace gcore::gdbstub
