// A flattened device tree (Devicetree Specification 0.4, chapter 5), written from its root to its end.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace gcore::tools::vmm {

class DeviceTree {
 public:
  void begin(std::string_view node);  // "" is the root
  void end();
  void property(std::string_view name);
  void property(std::string_view name, std::string_view text);  // with its NUL; several strings: NUL between them
  void cells(std::string_view name, std::initializer_list<uint64_t> values);       // 32 bits each
  void wide_cells(std::string_view name, std::initializer_list<uint64_t> values);  // 64 bits each

  /// The whole, when every node has its end.
  std::vector<uint8_t> finish();

 private:
  void word(uint32_t value);
  void start_property(std::string_view name, size_t size);
  void bytes(std::string_view text);

  std::vector<uint8_t> structure_;
  std::string names_;
  std::map<std::string, uint32_t, std::less<>> offsets_;  // in names_
};

}  // namespace gcore::tools::vmm
