#include "reader/dump/device_state.h"

#include <fmt/format.h>
#include <llvm/Support/JSON.h>

#include <algorithm>

#include "writer/base/text.h"

namespace gcore::reader {
namespace {

namespace json = llvm::json;

constexpr uint8_t kEnd = 0x00, kFull = 0x04, kSubsection = 0x05, kDescription = 0x06, kFooter = 0x7e;
constexpr size_t kMostFields = 1 << 20;  // of all devices
constexpr int kDeepest = 16;             // structures in structures

Error malformed(std::string_view why) {
  return {Error::Kind::malformed, "cannot take the saved guest's devices apart: " + base::printable(why)};
}

class Walk {
 public:
  Walk(std::string_view bytes, SavedGuest& guest) : bytes_(bytes), guest_(guest) {}

  bool device(const json::Object& description) {
    const std::string name = description.getString("name").value_or("").str();
    DeviceState device{name, number_of(description, "instance_id"), number_of(description, "version"), {}};
    if (u8() != kFull) return fails(name + " does not start where it should");
    u32();  // its id
    if (text() != name || u32() != device.instance) return fails("another device is where " + name + " should be");
    device.version = u32();
    device_ = &device;
    if (!members(description, "", 0)) return false;
    if (at_ < bytes_.size() && bytes_[at_] == static_cast<char>(kFooter)) at_ += 1 + sizeof(uint32_t);
    if (at_ > bytes_.size()) return fails(name + " is cut off");
    guest_.devices.push_back(std::move(device));
    return true;
  }
  const std::string& problem() const { return problem_; }

 private:
  bool fails(std::string why) {
    if (problem_.empty()) problem_ = std::move(why);
    return false;
  }
  static uint32_t number_of(const json::Object& object, const char* name) {
    return static_cast<uint32_t>(object.getInteger(name).value_or(0));
  }
  std::string_view take(size_t size) {
    if (size > bytes_.size() - std::min(at_, bytes_.size())) {
      at_ = bytes_.size() + 1;  // beyond the end
      return {};
    }
    at_ += size;
    return bytes_.substr(at_ - size, size);
  }
  uint64_t number(size_t size) { return DeviceField{"", take(size)}.number(); }
  uint8_t u8() { return static_cast<uint8_t>(number(1)); }
  uint32_t u32() { return static_cast<uint32_t>(number(4)); }
  std::string_view text() { return take(u8()); }

  /// The fields of a device, structure or subsection, and then its subsections.
  bool members(const json::Object& owner, const std::string& path, int depth) {
    if (depth > kDeepest) return fails("its description is nested too deeply");
    if (const json::Array* fields = owner.getArray("fields"))
      for (const json::Value& one : *fields)
        if (const json::Object* field_of = one.getAsObject(); !field_of || !field(*field_of, path, depth))
          return fails("a field of " + device_->name + " is not described");
    if (const json::Array* subsections = owner.getArray("subsections"))
      for (const json::Value& one : *subsections)
        if (const json::Object* object = one.getAsObject(); !object || !subsection(*object, depth))
          return fails("a subsection of " + device_->name + " is not described");
    return true;
  }

  bool subsection(const json::Object& description, int depth) {
    const std::string name = description.getString("vmsd_name").value_or("").str();
    if (u8() != kSubsection || text() != name) return fails("subsection " + name + " is not where it should be");
    u32();  // its version
    return members(description, name + ":", depth + 1);
  }

  bool field(const json::Object& description, const std::string& path, int depth) {
    std::string name = path + description.getString("name").value_or("").str();
    const uint64_t size = static_cast<uint64_t>(description.getInteger("size").value_or(0));
    const auto length = description.getInteger("array_len");
    const auto index = description.getInteger("index");
    if (length && (*length < 0 || static_cast<size_t>(*length) > kMostFields)) return fails(name + " is too long");
    const json::Object* structure = description.getObject("struct");
    const bool whole = !structure && description.getString("type").value_or("") == "tmp";
    for (int64_t i = 0; i < length.value_or(1); ++i) {
      if (++fields_ > kMostFields || at_ > bytes_.size()) return fails(name + " is cut off");
      const std::string element = length  ? name + "[" + std::to_string(i) + "]"
                                  : index ? name + "[" + std::to_string(*index) + "]"
                                          : name;
      if (structure) {
        if (!members(*structure, element + ".", depth + 1)) return false;
      } else if (whole && description.getArray("fields")) {
        if (!members(description, element + ".", depth + 1)) return false;
      } else {
        device_->fields.push_back({element, take(static_cast<size_t>(size))});
      }
    }
    return at_ <= bytes_.size() || fails(name + " is cut off");
  }

  std::string_view bytes_;
  SavedGuest& guest_;
  DeviceState* device_ = nullptr;
  size_t at_ = 0, fields_ = 0;
  std::string problem_;
};

/// Where the description starts: after the end of the sections, and as long as it says.
size_t find_description(std::string_view state) {
  constexpr size_t kHead = 2 + sizeof(uint32_t);
  for (size_t at = state.rfind('{'); at != std::string_view::npos && at >= kHead; at = state.rfind('{', at - 1)) {
    if (state[at - kHead] == static_cast<char>(kEnd) && state[at - kHead + 1] == static_cast<char>(kDescription) &&
        DeviceField{"", state.substr(at - sizeof(uint32_t), sizeof(uint32_t))}.number() == state.size() - at)
      return at;
    if (at == 0) break;
  }
  return std::string_view::npos;
}

}  // namespace

uint64_t DeviceField::number() const {
  uint64_t value = 0;
  if (bytes.size() > sizeof value) return 0;
  for (const char byte : bytes) value = value << 8 | static_cast<uint8_t>(byte);
  return value;
}

const DeviceField* DeviceState::find(std::string_view path) const {
  const auto found = std::ranges::find(fields, path, &DeviceField::path);
  return found != fields.end() ? &*found : nullptr;
}

Expected<void> read_device_states(SavedGuest& guest) {
  const std::string_view state = guest.state;
  const size_t start = find_description(state);
  if (start == std::string_view::npos)
    return std::unexpected(Error{Error::Kind::truncated,
                                 "the saved guest has no description of its devices at its end: it is cut off, or its "
                                 "machine was started with suppress-vmdesc"});
  llvm::Expected<json::Value> parsed = json::parse(llvm::StringRef(state.data() + start, state.size() - start));
  if (!parsed) return std::unexpected(malformed("the description is no JSON: " + llvm::toString(parsed.takeError())));
  const json::Object* description = parsed->getAsObject();
  const json::Array* devices = description ? description->getArray("devices") : nullptr;
  if (!devices) return std::unexpected(malformed("the description lists no devices"));
  Walk walk(state.substr(0, start), guest);
  for (const json::Value& one : *devices)
    if (const json::Object* device = one.getAsObject(); !device || !walk.device(*device))
      return std::unexpected(malformed(walk.problem().empty() ? "a device is not described" : walk.problem()));
  return {};
}

}  // namespace gcore::reader
