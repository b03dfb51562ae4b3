#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace gcore::tests {

/// One address on which gcore and an oracle differ: where each says that it leads, nothing for "nowhere".
struct Disagreement {
  uint64_t address = 0;
  std::optional<uint64_t> ours, theirs;
};

/// Counts what an oracle said. A disagreement has to have a cause that is known, has a name, and is the oracle's; all
/// of them stand in docs/translation-oracles.md.
class Comparison {
 public:
  /// Gives the cause's name, or "" when this one has none.
  using Excuse = std::function<std::string(const Disagreement&)>;

  Comparison(std::string oracle, Excuse excuse) : oracle_(std::move(oracle)), excuse_(std::move(excuse)) {}

  void add(uint64_t address, std::optional<uint64_t> ours, std::optional<uint64_t> theirs);

  size_t compared() const { return compared_; }
  size_t mapped() const { return mapped_; }
  /// The first few disagreements without a cause, a line each; "" when there is none.
  std::string unexplained() const;
  /// "QEMU: 25000 addresses, 17000 mapped, 3 differ: NAME".
  std::string summary() const;

 private:
  std::string oracle_;
  Excuse excuse_;
  size_t compared_ = 0, mapped_ = 0;
  std::map<std::string, size_t> causes_;
  std::vector<Disagreement> unexplained_;
};

}  // namespace gcore::tests
