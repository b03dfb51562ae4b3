// A page of gcore-inspect in a real browser.
#pragma once

#include <gtest/gtest.h>
#include <llvm/Support/JSON.h>

#include <string>
#include <vector>

#include "tests/support/paths.h"
#include "tests/support/process.h"

namespace gcore::tests {

/// What browser.py found; fails the test on any console error and any request.
class Visit {
 public:
  Visit(const std::string& page, std::vector<std::string> steps) {
    std::vector<std::string> argv{"python3", source_dir() + "/tests/inspect/browser.py", page};
    argv.insert(argv.end(), steps.begin(), steps.end());
    const Completed done = run(argv, 110s);
    auto parsed = llvm::json::parse(done.out);
    if (!parsed || parsed->getAsObject() == nullptr) {
      llvm::consumeError(parsed.takeError());
      ADD_FAILURE() << done.out << done.err;
      return;
    }
    found_ = std::move(*parsed->getAsObject());
    for (const char* list : {"errors", "requests"})
      for (const llvm::json::Value& entry : *found_.getArray(list))
        ADD_FAILURE() << list << ": " << entry.getAsString()->str();
  }
  llvm::json::Value value(size_t n) const {
    const llvm::json::Array* values = found_.getArray("values");
    return values != nullptr && n < values->size() ? (*values)[n] : llvm::json::Value("(no value)");
  }
  std::string text(size_t n) const { return value(n).getAsString().value_or("(no text)").str(); }
  int64_t number(size_t n) const { return value(n).getAsInteger().value_or(-1); }
  bool truth(size_t n) const { return value(n).getAsBoolean().value_or(false); }
  int64_t milliseconds() const { return found_.getInteger("drawn_ms").value_or(-1); }

 private:
  llvm::json::Object found_;
};

}  // namespace gcore::tests
