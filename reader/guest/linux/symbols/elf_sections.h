// The sections of an ELF file of either class and byte order. Private to the reader.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "reader/error.h"
#include "writer/format/endian.h"

namespace gcore::reader::linux_guest {

class ElfSections {
 public:
  /// Reads up to into.size() bytes at an offset of the file; returns how many.
  using ReadAt = std::function<size_t(uint64_t offset, std::span<std::byte> into)>;

  struct Section {
    std::string name;
    uint32_t type = 0, link = 0, info = 0;
    uint64_t flags = 0, address = 0, offset = 0, size = 0, entry_size = 0;
    uint64_t header_at = 0;  // where its header stands in the file
  };

  /// The error is the reason only, without the file's name. No section headers: an empty list.
  static Expected<ElfSections> read(const ReadAt& read);

  bool is_64_bit() const { return is_64_bit_; }
  format::ByteOrder order() const { return order_; }
  uint16_t type() const { return type_; }        // ET_*
  uint16_t machine() const { return machine_; }  // EM_*
  const std::vector<Section>& list() const { return list_; }
  const Section* find(std::string_view name) const;
  const Section* names() const { return names_ != 0 && names_ < list_.size() ? &list_[names_] : nullptr; }  // .shstrtab

  /// All bytes of a section that has some; nothing when it is larger than `limit`, or the file ends before.
  static std::optional<std::vector<std::byte>> bytes(const ReadAt& read, const Section& section, uint64_t limit);

  /// In hexadecimal; "" when it has none.
  std::string build_id(const ReadAt& read) const;

 private:
  bool is_64_bit_ = true;
  format::ByteOrder order_ = format::ByteOrder::little;
  uint16_t type_ = 0, machine_ = 0;
  std::vector<Section> list_;
  size_t names_ = 0;  // 0, which is no section's number: there are none
};

}  // namespace gcore::reader::linux_guest
