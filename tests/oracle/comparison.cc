#include "tests/oracle/comparison.h"

#include <algorithm>
#include <cstdio>

namespace gcore::tests {
namespace {

constexpr size_t kShown = 5;

std::string text_of(std::optional<uint64_t> physical) {
  if (!physical) return "nothing";
  char text[24];
  std::snprintf(text, sizeof text, "0x%llx", static_cast<unsigned long long>(*physical));
  return text;
}

}  // namespace

void Comparison::add(uint64_t address, std::optional<uint64_t> ours, std::optional<uint64_t> theirs) {
  ++compared_;
  mapped_ += ours.has_value();
  if (ours == theirs) return;
  const Disagreement found{address, ours, theirs};
  const std::string cause = excuse_ ? excuse_(found) : "";
  if (cause.empty()) {
    unexplained_.push_back(found);
  } else {
    ++causes_[cause];
  }
}

std::string Comparison::unexplained() const {
  if (unexplained_.empty()) return "";
  std::string text = oracle_ + " and gcore differ on " + std::to_string(unexplained_.size()) + " of " +
                     std::to_string(compared_) + " addresses:\n";
  for (size_t i = 0; i < std::min(kShown, unexplained_.size()); ++i)
    text += "  " + text_of(unexplained_[i].address) + " leads to " + text_of(unexplained_[i].ours) + "; " + oracle_ +
            " says " + text_of(unexplained_[i].theirs) + "\n";
  return text;
}

std::string Comparison::summary() const {
  std::string text = oracle_ + ": " + std::to_string(compared_) + " addresses, " + std::to_string(mapped_) + " mapped";
  for (const auto& [cause, count] : causes_) text += ", " + std::to_string(count) + " differ: " + cause;
  if (!unexplained_.empty()) text += ", " + std::to_string(unexplained_.size()) + " differ without a known cause";
  return text;
}

}  // namespace gcore::tests
