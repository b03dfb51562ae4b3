#include "tools/gcore-vmm/fdt.h"

namespace gcore::tools::vmm {
namespace {

constexpr uint32_t kMagic = 0xd00dfeed, kBeginNode = 1, kEndNode = 2, kProperty = 3, kEnd = 9;
constexpr uint32_t kVersion = 17, kOldestReader = 16, kHeaderSize = 40, kReservationsSize = 16;

void append(std::vector<uint8_t>& to, uint64_t value, int size) {  // big-endian
  for (int i = size - 1; i >= 0; --i) to.push_back(static_cast<uint8_t>(value >> 8 * i));
}

}  // namespace

void DeviceTree::word(uint32_t value) { append(structure_, value, 4); }

// Padded to whole words.
void DeviceTree::bytes(std::string_view text) {
  structure_.insert(structure_.end(), text.begin(), text.end());
  while (structure_.size() % 4 != 0) structure_.push_back(0);
}

void DeviceTree::begin(std::string_view node) {
  word(kBeginNode);
  bytes(std::string(node) + '\0');
}

void DeviceTree::end() { word(kEndNode); }

void DeviceTree::start_property(std::string_view name, size_t size) {
  auto found = offsets_.find(name);
  if (found == offsets_.end()) {
    found = offsets_.emplace(name, static_cast<uint32_t>(names_.size())).first;
    names_ += std::string(name) + '\0';
  }
  word(kProperty);
  word(static_cast<uint32_t>(size));
  word(found->second);
}

void DeviceTree::property(std::string_view name) { start_property(name, 0); }

void DeviceTree::property(std::string_view name, std::string_view text) {
  start_property(name, text.size() + 1);
  bytes(std::string(text) + '\0');
}

void DeviceTree::cells(std::string_view name, std::initializer_list<uint64_t> values) {
  start_property(name, 4 * values.size());
  for (const uint64_t value : values) append(structure_, value, 4);
}

void DeviceTree::wide_cells(std::string_view name, std::initializer_list<uint64_t> values) {
  start_property(name, 8 * values.size());
  for (const uint64_t value : values) append(structure_, value, 8);
}

std::vector<uint8_t> DeviceTree::finish() {
  word(kEnd);
  const uint32_t structure = kHeaderSize + kReservationsSize;
  const auto structure_size = static_cast<uint32_t>(structure_.size()),
             names_size = static_cast<uint32_t>(names_.size());
  const uint32_t names = structure + structure_size, total = names + names_size;
  std::vector<uint8_t> tree;
  for (const uint32_t field :
       {kMagic, total, structure, names, kHeaderSize, kVersion, kOldestReader, uint32_t{0}, names_size, structure_size})
    append(tree, field, 4);
  tree.resize(structure);  // one entry of zeros ends the list of reservations
  tree.insert(tree.end(), structure_.begin(), structure_.end());
  tree.insert(tree.end(), names_.begin(), names_.end());
  return tree;
}

}  // namespace gcore::tools::vmm
