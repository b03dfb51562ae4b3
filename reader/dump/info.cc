#include "reader/dump/info.h"

#include <fmt/format.h>

#include <algorithm>
#include <bitset>
#include <charconv>
#include <cmath>
#include <limits>

// LLVM's JSON parser. Object::getNull and Value::getAsNull are not called: compilers disagree on how an optional null
// pointer is returned, and the packaged library is made by another one.
#include <llvm/Support/JSON.h>

#include "reader/dump/dump.h"

namespace gcore::reader {
namespace {

namespace json = llvm::json;

constexpr uint64_t kFormat = 1;
constexpr size_t kMaxText = size_t{1} << 20;  // the writer's is 16 KiB; a parsed value takes some ten times its text
constexpr unsigned kMaxDepth = 32;            // the parser is recursive
constexpr size_t kMaxNames = 100'000;         // of registers, in all

/// Nesting so deep that a recursive parser might run out of stack.
bool too_deep(std::string_view text) {
  unsigned depth = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    if (in_string && text[i] == '\\')
      ++i;
    else if (text[i] == '"')
      in_string = !in_string;
    else if (!in_string && (text[i] == '{' || text[i] == '[') && ++depth > kMaxDepth)
      return true;
    else if (!in_string && (text[i] == '}' || text[i] == ']') && depth > 0)
      --depth;
  }
  return false;
}

/// JSON's numbers have no bound; what does not fit is infinite after parsing, and cannot be written again.
bool all_finite(const json::Value& value) {
  if (const auto number = value.getAsNumber()) return std::isfinite(*number);
  if (const json::Array* array = value.getAsArray()) return std::ranges::all_of(*array, all_finite);
  if (const json::Object* object = value.getAsObject())
    return std::ranges::all_of(*object, [](const auto& field) { return all_finite(field.second); });
  return true;
}

/// An integer, or a text of one: JSON's own numbers are exact only up to 2^53 in many languages.
std::optional<uint64_t> number_of(const json::Value& value) {
  if (const auto text = value.getAsString()) {
    const bool hex = text->starts_with("0x");
    const char *from = text->data() + (hex ? 2 : 0), *end = text->data() + text->size();
    uint64_t number = 0;
    const auto [stop, error] = std::from_chars(from, end, number, hex ? 16 : 10);
    return error == std::errc() && stop == end ? std::optional(number) : std::nullopt;
  }
  if (const auto number = value.getAsUINT64()) return *number;
  return std::nullopt;
}

/// Takes fields out of the object, and counts those that have another type than the schema says.
class Fields {
 public:
  std::string text(const json::Object& from, std::string_view key) {
    const json::Value* value = find(from, key);
    if (value == nullptr) return {};
    if (const auto found = value->getAsString()) return found->str();
    odd(std::string(key));
    return {};
  }

  std::optional<uint64_t> number(const json::Object& from, std::string_view key) {
    const json::Value* value = find(from, key);
    if (value == nullptr) return std::nullopt;
    const auto found = number_of(*value);
    if (!found) odd(std::string(key));
    return found;
  }

  bool boolean(const json::Object& from, std::string_view key, bool otherwise) {
    const json::Value* value = find(from, key);
    if (value == nullptr) return otherwise;
    if (const auto found = value->getAsBoolean()) return *found;
    odd(std::string(key));
    return otherwise;
  }

  const json::Object* object(const json::Object& from, std::string_view key) {
    const json::Value* value = find(from, key);
    if (value == nullptr) return nullptr;
    if (value->getAsObject() == nullptr) odd(std::string(key));
    return value->getAsObject();
  }

  /// Calls `take` for each element; it returns false for one that it does not understand.
  template <class Take>
  void each(const json::Object& from, std::string_view key, Take take) {
    const json::Value* value = find(from, key);
    if (value == nullptr) return;
    const json::Array* array = value->getAsArray();
    if (array == nullptr) return odd(std::string(key));
    for (size_t i = 0; i < array->size(); ++i)
      if (!take((*array)[i])) odd(fmt::format("{}[{}]", key, i));
  }

  void report(std::vector<std::string>& warnings) const {
    if (count_ != 0)
      warnings.push_back(fmt::format("{} of section .gcore.info {} not what the format says (the first one: {})",
                                     count_ == 1 ? "a field" : fmt::format("{} fields", count_),
                                     count_ == 1 ? "is" : "are", first_));
  }

 private:
  static const json::Value* find(const json::Object& from, std::string_view key) {
    const json::Value* value = from.get(llvm::StringRef(key.data(), key.size()));
    return value == nullptr || value->kind() == json::Value::Null ? nullptr : value;
  }

  void odd(std::string what) {
    if (count_++ == 0) first_ = std::move(what);
  }

  size_t count_ = 0;
  std::string first_;
};

std::vector<std::string> words(std::string_view text, size_t limit) {
  std::vector<std::string> found;
  while (!text.empty() && found.size() < limit) {
    const size_t end = std::min(text.find(' '), text.size());
    if (end != 0) found.emplace_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return found;
}

void read_unavailable(const json::Object& from, Fields& fields, DumpInfo& info, std::vector<std::string>& warnings) {
  uint64_t listed = 0;
  size_t room = kMaxNames;
  fields.each(from, "unavailable", [&](const json::Value& value) {
    const json::Object* entry = value.getAsObject();
    if (entry == nullptr) return false;
    const auto cpu = fields.number(*entry, "vcpu");
    if (!cpu || *cpu > std::numeric_limits<uint32_t>::max()) return false;
    const uint64_t last = fields.number(*entry, "to").value_or(*cpu);
    if (last < *cpu || last > std::numeric_limits<uint32_t>::max()) return false;
    auto names = words(fields.text(*entry, "registers"), room);
    room -= names.size();
    listed += last - *cpu + 1;
    info.unavailable.push_back({static_cast<uint32_t>(*cpu), static_cast<uint32_t>(last), std::move(names)});
    return room != 0;
  });
  if (const uint64_t all = fields.number(from, "unavailable_vcpus").value_or(0); all > listed)
    warnings.push_back(fmt::format(
        "the writer did not know some registers of {} vCPUs and lists {} of these; those of the others read as 0", all,
        listed));
}

void read_missing(const json::Object& from, Fields& fields, DumpInfo& info, std::vector<std::string>& warnings) {
  std::vector<DumpInfo::Range> all;
  fields.each(from, "missing", [&](const json::Value& value) {
    const json::Array* pair = value.getAsArray();
    if (pair == nullptr || pair->size() != 2) return false;
    const auto address = number_of((*pair)[0]), size = number_of((*pair)[1]);
    if (!address || !size || *size == 0 || *size - 1 > std::numeric_limits<uint64_t>::max() - *address) return false;
    all.push_back({PhysAddr(*address), PhysAddr(*address + (*size - 1))});
    return true;
  });
  const size_t listed = all.size();
  std::ranges::sort(all, {}, &DumpInfo::Range::first);
  for (const DumpInfo::Range& range : all) {
    if (!info.missing.empty() && (range.first.value == 0 || range.first.value - 1 <= info.missing.back().last.value))
      info.missing.back().last = std::max(info.missing.back().last, range.last);
    else
      info.missing.push_back(range);
  }
  info.missing_ranges = std::max<uint64_t>(fields.number(from, "missing_ranges").value_or(0), listed);
  if (info.missing_ranges > listed)
    warnings.push_back(
        fmt::format("the writer could not read {} ranges of memory and lists {} of them; the others read as zeros",
                    info.missing_ranges, listed));
}

DumpInfo read_fields(const json::Object& from, Fields& fields, std::vector<std::string>& warnings) {
  DumpInfo info;
  info.present = true;
  info.program = fields.text(from, "program");
  info.writer = fields.text(from, "writer");
  info.machine = fields.text(from, "machine");
  info.vm = fields.text(from, "vm");
  info.host = fields.text(from, "host");
  info.requested_ns = fields.number(from, "requested_ns");
  if (const json::Object* reason = fields.object(from, "reason")) {
    info.reason_kind = fields.text(*reason, "kind");
    info.reason_detail = fields.text(*reason, "detail");
  }
  info.pause_ns = fields.number(from, "pause_ns");
  info.consistency = fields.text(from, "consistency");
  if (info.consistency == "torn")
    warnings.push_back(
        "the guest was let go on while its memory was copied: what this dump shows of it is not of one moment");
  fields.each(from, "source_defects", [&](const json::Value& value) {
    const auto text = value.getAsString();
    if (text) info.source_defects.push_back(text->str());
    return text.has_value();
  });
  for (const std::string& defect : info.source_defects)
    warnings.push_back("it was made of a dump that was damaged: " + defect);
  if (const uint64_t all = fields.number(from, "source_defects_count").value_or(0); all > info.source_defects.size())
    warnings.push_back(fmt::format("the dump that it was made of had {} defects, of which {} are listed", all,
                                   info.source_defects.size()));
  info.complete = fields.boolean(from, "complete", true);
  if (const json::Object* pages = fields.object(from, "pages"))
    info.pages = {.written = fields.number(*pages, "written").value_or(0),
                  .zero = fields.number(*pages, "zero").value_or(0),
                  .absent = fields.number(*pages, "absent").value_or(0),
                  .missing = fields.number(*pages, "missing").value_or(0)};
  if (const json::Object* vcpus = fields.object(from, "vcpus")) {
    info.vcpu_count = fields.number(*vcpus, "count");
    info.has_thread_ids = fields.text(*vcpus, "pr_pid") == "threads";
    fields.each(*vcpus, "left_out", [&](const json::Value& value) {
      const auto number = number_of(value);
      if (!number || *number > std::numeric_limits<uint32_t>::max()) return false;
      info.left_out.push_back(static_cast<uint32_t>(*number));
      return true;
    });
  }
  read_unavailable(from, fields, info, warnings);
  read_missing(from, fields, info, warnings);
  return info;
}

DumpInfo refused(std::string why, std::vector<std::string>& warnings) {
  std::ranges::replace(why, '\n', ' ');
  warnings.push_back("section .gcore.info is ignored: " + why);
  DumpInfo info;
  info.error = std::move(why);
  return info;
}

using RegisterSet = std::bitset<format::kMaxRegisters>;

RegisterSet set_of(format::Machine machine, std::span<const std::string> names) {
  RegisterSet set;
  for (const std::string& name : names)
    if (const auto slot = format::find_register(machine, name)) set.set(*slot);
  return set;
}

void drop(Cpu& cpu, RegisterSet dropped) {
  const format::Machine machine = cpu.registers.machine();
  const auto drops = [&](std::string_view name) {
    const auto slot = format::find_register(machine, name);
    return slot && dropped[*slot];
  };
  // What the reader computes: x86's stack pointer in kernel mode, and a vmcore's page table.
  if (drops("exx") && (cpu.registers.get("cs").value_or(3) & 3) == 0)
    dropped.set(*format::find_register(machine, "esp"));
  if (drops("cr3") && cpu.page_table == PhysAddr(0)) cpu.page_table.reset();
  format::RegisterFile kept(machine);
  for (size_t slot = 0; slot < format::registers(machine).size(); ++slot)
    if (const auto value = cpu.registers.get_slot(slot); value && !dropped[slot]) kept.set_slot(slot, *value);
  cpu.registers = kept;
}

}  // namespace

DumpInfo parse_info(std::string_view text, std::vector<std::string>& warnings) {
  if (text.empty()) return {};
  if (text.size() > kMaxText)
    return refused(fmt::format("it has {} bytes; this reader handles up to {}", text.size(), kMaxText), warnings);
  if (too_deep(text)) return refused("it is not JSON that this reader handles: it is nested too deeply", warnings);
  llvm::Expected<json::Value> parsed = json::parse(llvm::StringRef(text.data(), text.size()));
  if (!parsed) return refused("it is not JSON: " + llvm::toString(parsed.takeError()), warnings);
  if (!all_finite(*parsed)) return refused("it has a number that no program can hold, such as 1e400", warnings);
  const json::Object* object = parsed->getAsObject();
  if (object == nullptr) return refused("it is JSON, but not an object", warnings);
  Fields fields;
  if (const uint64_t format = fields.number(*object, "format").value_or(kFormat); format != kFormat)
    return refused(fmt::format("it has format {}; this reader knows {}", format, kFormat), warnings);
  DumpInfo info = read_fields(*object, fields, warnings);
  fields.report(warnings);
  return info;
}

void drop_unavailable(const DumpInfo& info, std::span<Cpu> cpus) {
  if (info.unavailable.empty() || cpus.empty()) return;
  std::vector<std::pair<uint32_t, size_t>> by_number;
  for (const Cpu& cpu : cpus) by_number.emplace_back(cpu.number, cpu.index);
  std::ranges::sort(by_number);
  size_t left = cpus.size() + 100'000;  // a writer lists no vCPU twice; nothing else bounds how often it could
  for (const DumpInfo::Unavailable& entry : info.unavailable) {
    const RegisterSet set = set_of(cpus[0].registers.machine(), entry.registers);
    auto at = std::ranges::lower_bound(by_number, std::pair(entry.cpu, size_t{0}));
    for (; at != by_number.end() && at->first <= entry.last && left > 0; ++at, --left) drop(cpus[at->second], set);
  }
}

}  // namespace gcore::reader
