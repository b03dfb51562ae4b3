// /proc/kallsyms, as lines.
#pragma once

#include <cstdint>
#include <sstream>
#include <string>
#include <vector>

namespace gcore::tests {

struct KnownSymbol {
  uint64_t address;
  char type;
  std::string name, module;
  bool operator==(const KnownSymbol&) const = default;
};

inline std::vector<KnownSymbol> parse_kallsyms(const std::string& text) {
  std::vector<KnownSymbol> symbols;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string address, module;
    KnownSymbol symbol{};
    if (!(words >> address >> symbol.type >> symbol.name)) continue;
    symbol.address = std::stoull(address, nullptr, 16);
    if (words >> module) symbol.module = module.substr(1, module.size() - 2);
    // What other parts of the kernel add: code of BPF programs, trampolines.
    if (symbol.module == "bpf" || symbol.module.starts_with("__builtin__")) continue;
    symbols.push_back(symbol);
  }
  return symbols;
}

inline void PrintTo(const KnownSymbol& symbol, std::ostream* out) {
  *out << std::hex << symbol.address << ' ' << symbol.type << ' ' << symbol.name << " [" << symbol.module << ']';
}

}  // namespace gcore::tests
