// Whole conversations, as text: each line is a packet, `>` from the debugger, `<` to it. Bytes that do not print are
// \xNN. GCORE_UPDATE_GOLDEN=1 in the environment writes the answers anew, to be looked at before they are committed.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "tests/gdbstub/conversation.h"
#include "tests/gdbstub/fake_target.h"
#include "tests/support/paths.h"

namespace gcore::tests {
namespace {

std::string printable(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '\n') {
      out += "\\n";
    } else if (c < 0x20 || c > 0x7e || c == '\\') {
      char escaped[8];
      std::snprintf(escaped, sizeof escaped, "\\x%02x", static_cast<unsigned>(static_cast<unsigned char>(c)));
      out += escaped;
    } else {
      out += c;
    }
  }
  return out;
}

std::string unprintable(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text.substr(i, 2) == "\\x" && i + 3 < text.size()) {
      out += unhex(text.substr(i + 2, 2));
      i += 3;
    } else {
      out += text[i];
    }
  }
  return out;
}

void configure(FakeTarget& target, std::string_view name) {
  if (name.find("aarch64") != std::string_view::npos) {
    target.machine = gdbstub::Arch::aarch64;
    target.registers = {{"x0", 1}, {"elr", 0xffffffff80000010}, {"pstate", 0x3c5}, {"ttbr1_el1", 0x8000}};
  }
  if (name.find("i386") != std::string_view::npos) {
    target.machine = gdbstub::Arch::i386;
    target.registers = {{"eax", 1}, {"eip", 0x400010}, {"cs", 0x10}, {"cr3", 0x8000}};
  }
}

std::filesystem::path folder() { return std::filesystem::path(source_dir()) / "tests/gdbstub/golden"; }

std::vector<std::string> names() {
  std::vector<std::string> all;
  for (const auto& entry : std::filesystem::directory_iterator(folder()))
    if (entry.path().extension() == ".txt") all.push_back(entry.path().stem());
  std::ranges::sort(all);
  return all;
}

TEST(Golden, ThereAreConversations) { EXPECT_GE(names().size(), 4u); }

TEST(Golden, ConversationsHaveNotChanged) {
  for (const std::string& name : names()) {
    const auto path = folder() / (name + ".txt");
    std::ifstream in(path);
    FakeTarget target;
    configure(target, name);
    Conversation gdb(target, {.program = "gcore-serve 1.2"});
    std::string expected, got;
    for (std::string line; std::getline(in, line);) {
      expected += line + "\n";
      if (line.starts_with("<")) continue;
      got += line + "\n";
      if (!line.starts_with("> ")) continue;
      const std::string payload = unprintable(std::string_view(line).substr(2));
      const std::string reply = gdb.ask(payload);
      if (payload == "QStartNoAckMode") gdb.acknowledgements = false;
      if (!gdb.console.empty()) got += "<O " + printable(gdb.console) + "\n";
      got += "< " + printable(reply) + "\n";
    }
    if (std::getenv("GCORE_UPDATE_GOLDEN") != nullptr)
      std::ofstream(path) << got;
    else
      EXPECT_EQ(got, expected) << name;
  }
}

}  // namespace
}  // namespace gcore::tests
