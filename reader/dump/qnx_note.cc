#include "reader/dump/qnx_note.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <string_view>

#include "writer/format/qnx_note.h"

namespace gcore::reader {
namespace {

using format::load;

constexpr uint64_t kHeaderSize = sizeof(format::KdumpNote), kCpuHeaderSize = sizeof(format::KdumpNoteCpu);
constexpr size_t kMaxExtraRegisters = 1024;

/// One way to understand the sizes.
struct Reading {
  uint64_t names = 0;       // bytes of the block of names
  uint64_t name_entry = 0;  // bytes of one name, 0 when names follow each other
  uint64_t count = 0;       // registers, 0 when the names say
  uint64_t value = 0;       // bytes of all extra values of a CPU
  uint64_t record = 0;      // bytes of one CPU's record
};

class NoteReader {
 public:
  NoteReader(std::span<const std::byte> bytes, uint64_t size, format::Machine machine, format::ByteOrder order,
             std::vector<std::string>& warnings)
      : bytes_(bytes),
        size_(size),
        machine_(machine),
        order_(order),
        core_(format::cpu_register_set_size(machine)),
        warnings_(warnings) {}

  Expected<QnxNoteContent> read() {
    if (bytes_.size() < kHeaderSize)
      return std::unexpected(Error{
          Error::Kind::malformed,
          fmt::format("there are {} bytes of its note segment, which {} neither an ELF note nor a kdump note ({} bytes "
                      "at least)",
                      bytes_.size(), bytes_.size() == 1 ? "is" : "are", kHeaderSize + kCpuHeaderSize + core_)});
    read_header();
    if (regset_ < core_) {
      no_vcpus(
          fmt::format("its kdump note gives a register block of {} bytes (regset_size), less than the {} bytes of "
                      "this machine's CPU registers",
                      regset_, core_));
      return std::move(out_);
    }
    const std::optional<Reading> reading = choose();
    const uint64_t records = reading ? record_count(*reading) : 0;
    if (records == 0) {
      no_vcpus(
          fmt::format("its kdump note has no complete record of a vCPU: {} bytes are fewer than {} (header) + {} "
                      "(extra register names) + {} (record) + {} (registers)",
                      bytes_.size(), kHeaderSize, reading ? reading->names : names_size_, kCpuHeaderSize, regset_));
      return std::move(out_);
    }
    report(*reading, records);
    read_names(*reading);
    out_.cpus.reserve(records);
    for (uint64_t i = 0; i < records; ++i)
      read_cpu(bytes_.subspan(kHeaderSize + reading->names + i * reading->record, reading->record), *reading);
    return std::move(out_);
  }

 private:
  void no_vcpus(const std::string& why) { warnings_.push_back("the dump has no vCPUs: " + why); }

  template <class T>
  T at(size_t offset) const {
    return load<T>(bytes_.data() + offset, order_);
  }

  void read_header() {
    KdumpFacts& facts = out_.facts;
    facts.note_version = at<uint8_t>(0);
    out_.signal = at<uint8_t>(1);
    facts.signal_code = at<uint8_t>(2);
    facts.fault_number = at<uint8_t>(3);
    facts.cpu_count = at<uint16_t>(4);
    out_.faulting_cpu = at<uint16_t>(6);
    facts.regset_size = at<uint32_t>(8);
    facts.cpu_info = at<uint32_t>(12) | uint64_t{at<uint32_t>(28)} << 32;
    facts.procnto_number = at<uint32_t>(16);
    facts.syspage_number = at<uint32_t>(20);
    facts.dumpinfo_number = at<uint32_t>(24);
    regset_ = facts.regset_size;
    values_size_ = at<uint32_t>(32);
    names_size_ = at<uint32_t>(36);
    if (facts.note_version != 0)
      warnings_.push_back(fmt::format("the kdump note has version {} instead of 0", facts.note_version));
  }

  /// What the sizes can mean, the likeliest first.
  std::vector<Reading> readings() const {
    const uint64_t record = kCpuHeaderSize + regset_;
    std::vector<Reading> all;
    all.push_back({.names = names_size_, .value = values_size_, .record = record});
    if (values_size_ != 0 && names_size_ != 0 && (regset_ - core_) % values_size_ == 0) {
      const uint64_t count = (regset_ - core_) / values_size_;
      all.push_back({.names = count * names_size_,
                     .name_entry = names_size_,
                     .count = count,
                     .value = count * values_size_,
                     .record = record});
    }
    // regset_size without the extra registers, against what the header's comment says.
    if (regset_ == core_ && values_size_ != 0)
      all.push_back({.names = names_size_, .value = values_size_, .record = record + values_size_});
    return all;
  }

  /// By the size that the note should have: one that is cut off has the same shape.
  std::optional<Reading> choose() const {
    const std::vector<Reading> all = readings();
    const uint64_t cpus = std::max<uint64_t>(out_.facts.cpu_count, 1);
    const auto fits = [&](const Reading& r) { return kHeaderSize + r.names <= size_; };
    const auto space = [&](const Reading& r) { return size_ - kHeaderSize - r.names; };
    for (const Reading& r : all)
      if (fits(r) && space(r) == cpus * r.record) return r;
    for (const Reading& r : all)
      if (fits(r) && space(r) > 0 && space(r) < cpus * r.record && space(r) % r.record == 0) return r;
    for (const Reading& r : all)
      if (fits(r) && space(r) >= r.record) return r;
    return std::nullopt;
  }

  uint64_t record_count(const Reading& r) const {
    if (kHeaderSize + r.names > bytes_.size()) return 0;
    const uint64_t fit = (bytes_.size() - kHeaderSize - r.names) / r.record;
    return out_.facts.cpu_count == 0 ? fit : std::min<uint64_t>(fit, out_.facts.cpu_count);
  }

  void report(const Reading& r, uint64_t records) {
    if (records != out_.facts.cpu_count)
      warnings_.push_back(fmt::format("the kdump note announces {} vCPUs (num_cpus) and has the records of {}",
                                      out_.facts.cpu_count, records));
    if (regset_ != core_ && regset_ != core_ + r.value)
      warnings_.push_back(fmt::format(
          "the kdump note's register block of {} bytes (regset_size) is neither this machine's {} bytes of CPU "
          "registers nor these and {} bytes of extra registers: the dump may be of another machine than its "
          "ELF header says",
          regset_, core_, r.value));
    const uint64_t left = bytes_.size() - kHeaderSize - r.names - records * r.record;
    if (left >= 8 && bytes_.size() == size_)
      warnings_.push_back(fmt::format("{} bytes are left over at the end of the kdump note", left));
  }

  void read_names(const Reading& r) {
    std::string_view block(reinterpret_cast<const char*>(bytes_.data()) + kHeaderSize, r.names);
    const auto add = [&](std::string_view name) {
      names_.emplace_back(name);
      slots_.push_back(format::find_register(machine_, name));
    };
    if (r.name_entry != 0) {
      for (uint64_t i = 0; i < r.count && i < kMaxExtraRegisters; ++i) {
        const std::string_view entry = block.substr(i * r.name_entry, r.name_entry);
        add(entry.substr(0, entry.find('\0')));
      }
    } else {
      while (!block.empty() && names_.size() < kMaxExtraRegisters) {
        const std::string_view name = block.substr(0, block.find('\0'));
        if (!name.empty()) add(name);  // an empty one is padding
        block.remove_prefix(std::min(block.size(), name.size() + 1));
      }
    }
    const auto is_text = [](const std::string& name) {
      return std::ranges::all_of(name, [](unsigned char c) { return c > 0x20 && c < 0x7f; });
    };
    if (const auto odd = std::ranges::count_if(names_, [&](const auto& name) { return !is_text(name); }); odd != 0)
      warnings_.push_back(
          fmt::format("{} of the {} names of extra registers in the kdump note are no text", odd, names_.size()));
    if (names_.empty()) {
      if (r.value != 0)
        warnings_.push_back(
            fmt::format("the kdump note has {} bytes of extra registers and no names for them", r.value));
      return;
    }
    width_ = r.value / names_.size();
    if (r.value % names_.size() != 0 || (width_ != 1 && width_ != 2 && width_ != 4 && width_ != 8)) {
      warnings_.push_back(
          fmt::format("the kdump note names {} extra registers, for which {} bytes are no whole number of "
                      "bytes each; they are ignored",
                      names_.size(), r.value));
      names_.clear();
    }
  }

  uint64_t extra_value(const std::byte* from) const {
    switch (width_) {
      case 1:
        return load<uint8_t>(from, order_);
      case 2:
        return load<uint16_t>(from, order_);
      case 4:
        return load<uint32_t>(from, order_);
      default:
        return load<uint64_t>(from, order_);
    }
  }

  void read_cpu(std::span<const std::byte> record, const Reading& r) {
    Cpu cpu{.index = out_.cpus.size(),
            .number = load<uint32_t>(record.data() + 8, order_),
            .registers = format::RegisterFile(machine_)};
    if (const uint64_t root = load<uint64_t>(record.data(), order_); root != 0) cpu.page_table = PhysAddr(root);
    std::string_view name(reinterpret_cast<const char*>(record.data()) + offsetof(format::KdumpNoteCpu, process_name),
                          sizeof(format::KdumpNoteCpu::process_name));
    cpu.process_name = name.substr(0, name.find('\0'));

    const std::byte* core = record.data() + kCpuHeaderSize;
    const auto known = format::registers(machine_);
    for (size_t slot = 0; slot < known.size() && known[slot].core_offset >= 0; ++slot) {
      const std::byte* from = core + known[slot].core_offset;
      cpu.registers.set_slot(slot,
                             known[slot].bytes == 8 ? load<uint64_t>(from, order_) : load<uint32_t>(from, order_));
    }
    // The extra values are the last r.value bytes: a core set that is longer than ours has its own tail in between.
    const std::byte* extra =
        record.data() + record.size() - std::min<uint64_t>(r.value, record.size() - kCpuHeaderSize - core_);
    for (size_t i = 0; i < names_.size() && (i + 1) * width_ <= record.size() - kCpuHeaderSize - core_; ++i) {
      const uint64_t value = extra_value(extra + i * width_);
      if (slots_[i]) {
        cpu.registers.set_slot(*slots_[i], value);
      } else {
        cpu.other_registers.emplace_back(names_[i], value);
      }
    }
    if (machine_ == format::Machine::x86) fix_kernel_stack(cpu.registers);
    out_.cpus.push_back(std::move(cpu));
  }

  /// A 32-bit x86 CPU pushes no stack pointer when it enters the kernel from the kernel: see kX86 in
  /// writer/format/registers.cc.
  static void fix_kernel_stack(format::RegisterFile& registers) {
    if ((registers.get("cs").value_or(3) & 3) != 0) return;
    registers.put("esp", static_cast<uint32_t>(registers.get("exx").value_or(0) + 12));
    registers.put("ss", 0);
  }

  std::span<const std::byte> bytes_;
  uint64_t size_;
  format::Machine machine_;
  format::ByteOrder order_;
  uint64_t core_;
  std::vector<std::string>& warnings_;
  QnxNoteContent out_;
  uint64_t regset_ = 0, values_size_ = 0, names_size_ = 0;
  std::vector<std::string> names_;
  std::vector<std::optional<size_t>> slots_;
  uint64_t width_ = 0;
};

}  // namespace

Expected<QnxNoteContent> read_qnx_note(std::span<const std::byte> bytes, uint64_t size, format::Machine machine,
                                       format::ByteOrder order, std::vector<std::string>& warnings) {
  return NoteReader(bytes, size, machine, order, warnings).read();
}

}  // namespace gcore::reader
