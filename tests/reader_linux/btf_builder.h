// Writes BTF, from its description in Documentation/bpf/btf.rst alone.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace gcore::tests {

class BtfBuilder {
 public:
  /// Split BTF goes on with ids and string offsets where its base ends.
  explicit BtfBuilder(uint32_t first_id = 1, uint32_t first_string = 0) : next_id_(first_id), base_(first_string) {
    if (base_ == 0) strings_.push_back('\0');
  }

  struct Field {
    std::string name;
    uint32_t type, third;  // offset in bits, or value
  };

  uint32_t add(unsigned kind, std::string_view name, uint32_t size_or_type, std::vector<uint32_t> words = {},
               unsigned vlen = 0, bool flag = false) {
    put(types_, string(name));
    put(types_, static_cast<uint32_t>(flag) << 31 | kind << 24 | vlen);
    put(types_, size_or_type);
    for (const uint32_t word : words) put(types_, word);
    return next_id_++;
  }
  uint32_t integer(std::string_view name, uint32_t bytes, uint32_t encoding = 0) {
    return add(1, name, bytes, {encoding << 24 | bytes * 8});
  }
  uint32_t structure(std::string_view name, uint32_t bytes, const std::vector<Field>& fields, bool bit_fields = false,
                     unsigned kind = 4) {
    std::vector<uint32_t> words;
    for (const Field& field : fields) words.insert(words.end(), {string(field.name), field.type, field.third});
    return add(kind, name, bytes, words, static_cast<unsigned>(fields.size()), bit_fields);
  }
  uint32_t string(std::string_view text) {
    if (text.empty()) return 0;
    const auto at = static_cast<uint32_t>(strings_.size()) + base_;
    strings_.insert(strings_.end(), text.begin(), text.end());
    strings_.push_back('\0');
    return at;
  }

  uint32_t strings_end() const { return static_cast<uint32_t>(strings_.size()) + base_; }

  std::vector<std::byte> bytes() const {
    std::vector<char> out;
    put(out, 0x0001eb9f);
    const auto types = static_cast<uint32_t>(types_.size()), strings = static_cast<uint32_t>(strings_.size());
    for (const uint32_t field : {uint32_t{24}, uint32_t{0}, types, types, strings}) put(out, field);
    out.insert(out.end(), types_.begin(), types_.end());
    out.insert(out.end(), strings_.begin(), strings_.end());
    const auto* first = reinterpret_cast<const std::byte*>(out.data());
    return {first, first + out.size()};
  }

 private:
  static void put(std::vector<char>& to, uint32_t value) {
    for (int shift = 0; shift < 32; shift += 8) to.push_back(static_cast<char>(value >> shift & 0xff));
  }

  std::vector<char> types_, strings_;
  uint32_t next_id_, base_;
};

}  // namespace gcore::tests
