#include "tools/gcore-inspect/facts/symbols.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "tools/common/program.h"
#include "tools/gcore-inspect/facts/symbol_image.h"

namespace gcore::tools::inspect {

Symbols::Symbols() = default;
Symbols::Symbols(Symbols&&) noexcept = default;
Symbols& Symbols::operator=(Symbols&&) noexcept = default;
Symbols::~Symbols() = default;

void Symbols::add(std::unique_ptr<SymbolImage> image) { images_.push_back(std::move(image)); }

void Symbols::move_kernel(uint64_t displacement) {
  for (const auto& image : images_)
    if (image->is_kernel()) image->move(displacement);
}

std::vector<Symbols::BuildId> Symbols::kernel_build_ids() const {
  std::vector<BuildId> all;
  for (const auto& image : images_) {
    if (!image->is_kernel()) continue;
    auto [bytes, address] = image->build_id();
    if (address) *address += image->displacement();
    if (!bytes.empty()) all.push_back({image->path(), std::move(bytes), address});
  }
  return all;
}

bool Symbols::has_modules_only() const {
  return std::ranges::all_of(images_, [](const auto& image) { return image->is_module(); });
}

std::vector<Symbols::Map> Symbols::maps() const {
  std::vector<Map> all;
  for (const auto& image : images_) {
    if (!image->is_map()) continue;
    Map map{image->path(), {}};
    for (const auto& function : image->functions())
      map.functions.emplace_back(function.name, function.start + image->displacement());
    all.push_back(std::move(map));
  }
  return all;
}

std::optional<uint64_t> Symbols::kernel_symbol(std::initializer_list<std::string_view> names) const {
  for (const auto& image : images_) {
    if (!image->is_kernel()) continue;
    for (const std::string_view name : names) {
      const auto found = std::ranges::find(image->functions(), name, &SymbolImage::Function::name);
      if (found != image->functions().end()) return found->start;
    }
  }
  return std::nullopt;
}

std::vector<SourceFrame> Symbols::frames(uint64_t address) const {
  for (const auto& image : images_)
    if (auto found = image->frames(address); !found.empty()) return found;
  return {};
}

std::string Symbols::name(uint64_t address) const {
  const auto found = frames(address);
  if (found.empty()) return "";
  const SourceFrame &outer = found.back(), &inner = found.front();
  std::string text = printable(outer.function);
  if (outer.offset != 0) text += fmt::format("+{:#x}", outer.offset);
  if (inner.line != 0) text += fmt::format(" at {}:{}", printable(inner.file), inner.line);
  return text;
}

std::optional<UnwindRow> Symbols::unwind_row(uint64_t pc) const {
  for (const auto& image : images_)
    if (auto row = image->unwind_row(pc)) return row;
  return std::nullopt;
}

}  // namespace gcore::tools::inspect
