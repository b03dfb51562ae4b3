#include "tests/translate/case_file.h"

#include <fstream>
#include <set>
#include <sstream>
#include <stdexcept>

namespace gcore::tests {
namespace {

uint64_t number(const std::string& text) {
  size_t used = 0;
  const uint64_t value = std::stoull(text, &used, 0);
  if (used != text.size()) throw std::runtime_error("not a number: " + text);
  return value;
}

uint64_t size_of(std::string text) {
  const char unit = text.back();
  const size_t power = std::string("KMGT").find(unit);
  if (power == std::string::npos) return number(text);
  text.pop_back();
  return number(text) << 10 * (power + 1);
}

CaseFile::Expectation expectation(int line, const std::vector<std::string>& words) {
  CaseFile::Expectation result{
      .line = line, .address = number(words.at(0)), .fault = {}, .level = {}, .permissions = {}};
  if (words.at(2) == "fault:") {
    result.fault = words.at(3);
    if (words.size() > 4) {
      if (words[4] != "at" || words.size() != 6) throw std::runtime_error("expected: at LEVEL");
      result.level = words[5];
    }
    return result;
  }
  if (words.size() != 5) throw std::runtime_error("expected: ADDRESS -> PHYSICAL SIZE PERMISSIONS");
  result.physical = number(words[2]);
  result.page_size = size_of(words[3]);
  result.permissions = words[4];
  return result;
}

const std::set<std::string> kRegisters = {"cr0",
                                          "cr3",
                                          "cr4",
                                          "efer",
                                          "code_segment_long",
                                          "page_table",
                                          "encryption_mask",
                                          "sctlr",
                                          "tcr",
                                          "ttbr0",
                                          "ttbr1",
                                          "mmfr0",
                                          "pstate",
                                          "hcr_el2",
                                          "sctlr_el2",
                                          "tcr_el2",
                                          "ttbr0_el2",
                                          "ttbr1_el2"};

/// What `entries` lines have set.
struct EntryFormat {
  size_t size = 8;
  bool big_endian = false;
};

void take_line(CaseFile& file, EntryFormat& format, int line, const std::vector<std::string>& words) {
  const std::string& first = words[0];
  if (words.size() > 2 && words[1] == "->") {
    file.expectations.push_back(expectation(line, words));
  } else if (first.back() == ':' && words.size() > 1) {
    uint64_t address = number(first.substr(0, first.size() - 1));
    for (size_t i = 1; i < words.size(); ++i, address += format.size)
      file.memory.store(address, number(words[i]), format.size, format.big_endian);
  } else if (first == "machine" && words.size() == 2) {
    file.machine = words[1];
  } else if (first == "entries" && words.size() == 2 && (words[1] == "32" || words[1] == "big")) {
    (words[1] == "32") ? void(format.size = 4) : void(format.big_endian = true);
  } else if (kRegisters.contains(first) && words.size() == 2) {
    file.registers[first] = number(words[1]);
  } else if (first == "error" && words.size() == 1) {
    file.expect_error = true;
  } else {
    throw std::runtime_error("what is this?");
  }
}

}  // namespace

CaseFile CaseFile::load(const std::string& path) {
  std::ifstream in(path);
  if (!in) throw std::runtime_error(path + ": cannot be opened");
  CaseFile file;
  EntryFormat format;
  std::string text;
  for (int line = 1; std::getline(in, text); ++line) {
    std::istringstream split(text.substr(0, text.find('#')));
    std::vector<std::string> words;
    for (std::string word; split >> word;) words.push_back(word);
    if (words.empty()) continue;
    try {
      take_line(file, format, line, words);
    } catch (const std::exception& error) {
      throw std::runtime_error(path + ":" + std::to_string(line) + ": " + error.what());
    }
  }
  if (file.expectations.empty() != file.expect_error) throw std::runtime_error(path + ": expects nothing, or too much");
  return file;
}

reader::Expected<translate::Paging> CaseFile::paging() const {
  auto get = [&](const char* name) {
    const auto found = registers.find(name);
    return found == registers.end() ? std::nullopt : std::optional(found->second);
  };
  if (machine == "aarch64")
    return translate::aarch64_paging({.sctlr = get("sctlr"),
                                      .tcr = get("tcr"),
                                      .ttbr0 = get("ttbr0"),
                                      .ttbr1 = get("ttbr1"),
                                      .id_aa64mmfr0 = get("mmfr0"),
                                      .pstate = get("pstate"),
                                      .hcr_el2 = get("hcr_el2"),
                                      .sctlr_el2 = get("sctlr_el2"),
                                      .tcr_el2 = get("tcr_el2"),
                                      .ttbr0_el2 = get("ttbr0_el2"),
                                      .ttbr1_el2 = get("ttbr1_el2")});
  translate::X86Registers x86{.machine_64bit = machine == "x86_64",
                              .cr0 = get("cr0"),
                              .cr3 = get("cr3"),
                              .cr4 = get("cr4"),
                              .efer = get("efer"),
                              .code_segment_long = {},
                              .page_table = get("page_table"),
                              .pae = {},
                              .five_level = {},
                              .encryption_mask = get("encryption_mask").value_or(0)};
  if (const auto is_long = get("code_segment_long")) x86.code_segment_long = *is_long != 0;
  return translate::x86_paging(x86);
}

}  // namespace gcore::tests
