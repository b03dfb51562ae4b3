// Debug information made of hostile BTF, split BTF upon it, and symbols that lie: LLVM's verifier finds nothing wrong
// with it, and it is not large. Also what is made of hostile aarch64 code.
//
// Input: where the second BTF begins (u16), then the bytes of the first and of the second.
#include <llvm/ADT/StringMap.h>
#include <llvm/DebugInfo/DIContext.h>
#include <llvm/DebugInfo/DWARF/DWARFContext.h>
#include <llvm/Support/MemoryBuffer.h>
#include <llvm/Support/raw_ostream.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "reader/guest/linux/symbols/aarch64_code.h"
#include "reader/guest/linux/symbols/debug_info.h"
#include "reader/guest/linux/types.h"
#include "tests/fuzz/input_file.h"

namespace {

using namespace gcore::reader::linux_guest;  // NOLINT: a program of one file
using gcore::reader::VirtAddr;
using gcore::tests::copy;
using gcore::tests::require;

constexpr uint64_t kCode = 0xffffffff81000000;

/// The same names have the same symbols: none, one or several, which overlap others', of the kernel or of its module.
std::vector<Symbol> symbols_of(std::string_view name) {
  size_t hash = 1469598103934665603u;
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211u;
  std::vector<Symbol> symbols;
  for (size_t i = 0; i < hash % 4 && i < 2; ++i, hash >>= 7)
    symbols.push_back({.address = VirtAddr(kCode - 256 + hash % 4096),
                       .size = hash >> 12 & 63,
                       .type = 't',
                       .name = name,
                       .module = (hash & 256) ? "module" : ""});
  if (hash % 16 == 0 && !symbols.empty()) symbols[0].size = UINT64_MAX - (hash >> 20 & 63);
  return symbols;
}

void verify(const DebugInfo& made) {
  llvm::StringMap<std::unique_ptr<llvm::MemoryBuffer>> sections;
  const auto add = [&](const char* name, const std::vector<std::byte>& bytes) {
    sections[name] = llvm::MemoryBuffer::getMemBuffer(
        llvm::StringRef(reinterpret_cast<const char*>(bytes.data()), bytes.size()), name, false);
  };
  add("debug_info", made.info);
  add("debug_abbrev", made.abbreviations);
  add("debug_str", made.strings);
  add("debug_ranges", made.ranges);
  const auto context = llvm::DWARFContext::create(sections, 8, true);
  std::string said;
  llvm::raw_string_ostream out(said);
  if (context->verify(out)) return;
  std::fprintf(stderr, "%s\n", said.c_str());
  require(false);
}

void follow(std::span<const uint8_t> bytes) {
  std::vector<uint32_t> code(std::min<size_t>(bytes.size() / 4, 1 << 14));
  if (!code.empty()) std::memcpy(code.data(), bytes.data(), code.size() * 4);
  size_t next = 0;
  for (const Aarch64Row& row : follow_aarch64_code(code)) {
    require(row.instruction >= next && row.instruction < code.size());
    next = row.instruction + 1;
    require(row.frame.distance >= 0 && row.frame.distance <= 1 << 16);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return -1;
  uint16_t where;
  std::memcpy(&where, data, sizeof where);
  const std::span bytes(data + 2, size - 2);
  follow(bytes);
  const size_t second = std::min<size_t>(where, bytes.size());
  const auto base = Types::parse(copy(bytes.first(second)), nullptr);
  if (!base) return 0;
  std::optional<Types> split;
  if (auto parsed = Types::parse(copy(bytes.subspan(second)), &*base)) split.emplace(std::move(*parsed));
  DebugInfoSources sources;
  sources.types = &*base;
  if (split) sources.modules.emplace_back("module", &*split);
  sources.symbols = symbols_of;
  sources.code = {{kCode, kCode + 2048}, {kCode + 2048, kCode + 4096}};
  const DebugInfo made = make_debug_info(sources, 0);
  // A piece of BTF (a member, a parameter) makes no more than that, but that many functions may share a prototype.
  require(made.info.size() <= kMaxDebugInfo + (8 << 20));
  if (made.functions == 0) require(made.info.size() <= 4096 + 16 * size);
  verify(made);
  return 0;
}
