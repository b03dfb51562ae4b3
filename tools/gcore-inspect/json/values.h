// How this program writes things as JSON: addresses are strings, text is UTF-8, what is not known is null.
#pragma once

#include <llvm/Support/JSON.h>
#include <llvm/Support/raw_ostream.h>

#include <cstdint>
#include <cstdio>
#include <optional>
#include <string>
#include <string_view>

#include "reader/dump/dump.h"
#include "reader/guest/linux/kernel.h"
#include "tools/gcore-inspect/facts/backtrace.h"
#include "tools/gcore-inspect/inspect.h"

namespace gcore::tools::inspect {

inline std::string utf8(std::string_view text) {
  return llvm::json::fixUTF8(llvm::StringRef(text.data(), text.size()));
}

llvm::json::Value hex_value(uint64_t value);
inline llvm::json::Value hex_value(std::optional<uint64_t> value) {
  return value ? hex_value(*value) : llvm::json::Value(nullptr);
}
inline llvm::json::Value text_or_null(std::string_view text) {
  return text.empty() ? llvm::json::Value(nullptr) : llvm::json::Value(utf8(text));
}

/// What went wrong in a Linux guest.
llvm::json::Value why_value(const Job& job, const reader::linux_guest::Kernel& kernel);

/// Those that a program has, by name; the ones that are not known are not there.
llvm::json::Value program_registers_value(const format::RegisterFile& registers);

llvm::json::Value file_value(const reader::Dump& dump);
llvm::json::Value backtrace_value(const Backtrace& trace);

// qnx.cc
void write_qnx(llvm::json::OStream& out, const Job& job);
// linux.cc
void write_linux(llvm::json::OStream& out, const Job& job);
llvm::json::Value task_of_cpu_value(const Job& job, size_t vcpu);

/// Hands everything to stdio, which is where run_program looks for errors of writing.
class StandardOutput : public llvm::raw_ostream {
 public:
  ~StandardOutput() override { flush(); }

 private:
  void write_impl(const char* text, size_t size) override { position_ += std::fwrite(text, 1, size, stdout); }
  uint64_t current_pos() const override { return position_; }
  uint64_t position_ = 0;
};

}  // namespace gcore::tools::inspect
