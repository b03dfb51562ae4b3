#include "reader/guest/linux/names.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <functional>
#include <list>
#include <mutex>
#include <utility>

#include "reader/dump/vmcoreinfo.h"
#include "reader/guest/linux/kallsyms.h"
#include "writer/format/endian.h"

namespace gcore::reader::linux_guest {
namespace {

constexpr size_t kTokens = 256, kLongestName = 512;  // with the type's letter (KSYM_NAME_LEN)
constexpr size_t kMaxNames = 64 << 20;               // bytes of the table
constexpr size_t kMaxTexts = 160 << 20;              // bytes of the names in full

}  // namespace

bool is_section_mark(const Symbol& symbol) {
  static constexpr std::array kMarks{
      std::string_view("_text"),         std::string_view("_stext"),          std::string_view("_etext"),
      std::string_view("_sdata"),        std::string_view("_data"),           std::string_view("_edata"),
      std::string_view("_end"),          std::string_view("_sinittext"),      std::string_view("_einittext"),
      std::string_view("__init_begin"),  std::string_view("__init_end"),      std::string_view("__per_cpu_load"),
      std::string_view("__bss_start"),   std::string_view("__per_cpu_start"), std::string_view("__per_cpu_end"),
      std::string_view("__bss_stop"),    std::string_view("_sinitdata"),      std::string_view("__inittext_begin"),
      std::string_view("__inittext_end")};
  const std::string_view name = symbol.name;
  if (std::ranges::find(kMarks, name) != kMarks.end()) return true;
  if (name.ends_with("_text_start") || name.ends_with("_text_end")) return symbol.type != 't';
  // __start_tty is a function, __start_rodata none; marks in code are of sections with two underscores.
  const bool is_code = std::string_view("tTwW").contains(symbol.type);
  return name.starts_with(is_code ? "__start___" : "__start_") || name.starts_with(is_code ? "__stop___" : "__stop_");
}

namespace {

/// The tokens in full, each in a room from which 16 bytes may be copied at once.
struct Tokens {
  struct Token {
    const char* text = nullptr;
    uint32_t size = 0;
  };
  std::vector<char> texts{};
  std::array<Token, kTokens> tokens{};
};

Expected<Tokens> read_tokens(const KernelMemory& memory, const KallsymsTables& tables) {
  const auto bad = [](Error::Kind kind, std::string text) { return std::unexpected(Error{kind, std::move(text)}); };
  std::array<std::byte, 2 * kTokens> index;
  if (!memory.read_exactly(tables.token_index, index))
    return bad(Error::Kind::not_present,
               fmt::format("kallsyms_token_index at {:#x} cannot be read", tables.token_index.value));
  Tokens result;
  result.texts.resize((64 << 10) + kLongestName + 16);
  const size_t got = memory.read(tables.token_table, std::as_writable_bytes(std::span(result.texts).first(64 << 10)));
  for (size_t token = 0; token < kTokens; ++token) {
    const auto at = format::load<uint16_t>(&index[2 * token], memory.dump().byte_order());
    const size_t size = strnlen(&result.texts[at], kLongestName);
    if (at + size >= got || size == kLongestName)
      return bad(Error::Kind::malformed,
                 fmt::format("token {} of kallsyms_token_table at {:#x} is no text", token, tables.token_table.value));
    result.tokens[token] = {&result.texts[at], static_cast<uint32_t>(size)};
  }
  return result;
}

/// The compressed names, as far as they can be read.
std::vector<std::byte> read_names(const KernelMemory& memory, const KallsymsTables& tables) {
  // Tables follow the names: token_table does in all layouts.
  uint64_t size = kMaxNames;
  if (tables.token_table > tables.names) size = std::min<uint64_t>(size, tables.token_table.value - tables.names.value);
  std::vector<std::byte> bytes;
  constexpr size_t kStep = 4 << 20;
  while (bytes.size() < size) {
    const size_t before = bytes.size(), wanted = std::min<uint64_t>(kStep, size - before);
    bytes.resize(before + wanted);
    const size_t got = memory.read(tables.names + before, std::span(bytes).subspan(before));
    bytes.resize(before + got);
    if (got < wanted) break;
  }
  return bytes;
}

struct Texts {
  std::unique_ptr<char[]> pool;
  std::vector<std::string_view>
      names;  // with the type's letter first; fewer than there are symbols when they end early
};

/// Expands the names. Stops where they make no sense.
Texts expand(std::span<const std::byte> bytes, uint32_t count, const Tokens& tokens) {
  Texts texts;
  texts.names.reserve(std::min<size_t>(count, bytes.size()));
  // First how long all of them are: no room is taken that hostile numbers ask for.
  size_t at = 0, total = 0, number = 0;
  const auto entry = [&](auto&& on_token) {
    if (at >= bytes.size()) return false;
    size_t length = std::to_integer<size_t>(bytes[at++]);
    if (length & 0x80) {
      if (at >= bytes.size()) return false;
      length = (length & 0x7f) | std::to_integer<size_t>(bytes[at++]) << 7;
    }
    if (length == 0 || length > bytes.size() - at) return false;
    for (const size_t end = at + length; at < end; ++at) on_token(tokens.tokens[std::to_integer<size_t>(bytes[at])]);
    return true;
  };
  for (; number < count; ++number) {
    size_t size = 0;
    if (!entry([&](const Tokens::Token& token) { size += token.size; })) break;
    if (size == 0 || size > kLongestName || total + size > kMaxTexts) break;
    total += size;
  }
  texts.pool = std::make_unique_for_overwrite<char[]>(total + kLongestName + 16);
  at = 0;
  char* to = texts.pool.get();
  for (size_t i = 0; i < number; ++i) {
    char* const begin = to;
    entry([&](const Tokens::Token& token) {
      std::memcpy(to, token.text, 16);
      if (token.size > 16) std::memcpy(to + 16, token.text + 16, token.size - 16);
      to += token.size;
    });
    texts.names.emplace_back(begin, static_cast<size_t>(to - begin));
  }
  return texts;
}

/// Addresses of all symbols in one encoding.
std::vector<uint64_t> decode(std::span<const std::byte> table, uint32_t count, AddressEncoding encoding, VirtAddr place,
                             uint64_t base, format::ByteOrder order) {
  std::vector<uint64_t> addresses(count);
  const auto offset = [&](uint32_t i) { return format::load<uint32_t>(&table[size_t{4} * i], order); };
  const auto extended = [](uint32_t value) { return static_cast<uint64_t>(int64_t{static_cast<int32_t>(value)}); };
  for (uint32_t i = 0; i < count; ++i) switch (encoding) {
      case AddressEncoding::base_or_absolute:
        addresses[i] = offset(i) >> 31 ? base - 1 - extended(offset(i)) : offset(i);
        break;
      case AddressEncoding::base:
        addresses[i] = base + offset(i);
        break;
      case AddressEncoding::self_relative:
        addresses[i] = place.value + uint64_t{4} * i + extended(offset(i));
        break;
      case AddressEncoding::plain:
        addresses[i] = format::load<uint64_t>(&table[size_t{8} * i], order);
        break;
    }
  return addresses;
}

/// How well addresses agree with what is known: whether _stext or _text is where the kernel is, else whether they
/// ascend in the kernel's half.
bool agrees(const std::vector<uint64_t>& addresses, std::span<const std::string_view> names, const GuestSystem& guest,
            const KernelMemory& memory) {
  const auto stext = Vmcoreinfo(guest.vmcoreinfo).symbol("_stext");
  bool said = false;
  for (size_t i = 0; i < names.size(); ++i) {
    const std::string_view name = names[i].substr(1);
    const bool is_start = name == "_stext", is_text = name == "_text";
    if (!is_start && !is_text) continue;
    if (is_start && stext && addresses[i] == *stext) return true;
    if (guest.image_address && addresses[i] == guest.image_address->value) return true;
    said = said || (is_start && stext) || guest.image_address;
  }
  return !said && !addresses.empty() && std::ranges::is_sorted(addresses) &&
         memory.is_kernel_address(VirtAddr(addresses[addresses.size() / 2]));
}

Expected<std::vector<uint64_t>> read_addresses(const KernelMemory& memory, const GuestSystem& guest,
                                               const KallsymsTables& tables, std::span<const std::string_view> names) {
  const auto bad = [&](Error::Kind kind, std::string_view why) {
    return std::unexpected(Error{kind, fmt::format("the addresses of kallsyms at {:#x}, of {} symbols, {}",
                                                   tables.addresses.value, tables.count, why)});
  };
  const size_t width = tables.encodings.front() == AddressEncoding::plain ? 8 : 4;
  std::vector<std::byte> table(width * tables.count);
  if (!memory.read_exactly(tables.addresses, table)) return bad(Error::Kind::not_present, "cannot be read");
  uint64_t base = 0;
  if (tables.relative_base) {
    const auto value = memory.u64(*tables.relative_base);
    if (!value) return bad(Error::Kind::not_present, "have a base that cannot be read");
    base = *value;
  }
  for (const AddressEncoding encoding : tables.encodings) {
    auto addresses = decode(table, tables.count, encoding, tables.addresses, base, memory.dump().byte_order());
    if (agrees(addresses, names, guest, memory)) return addresses;
  }
  return bad(Error::Kind::malformed, "do not say where the kernel is, in any encoding");
}

}  // namespace

std::string Place::text() const {
  std::string text = fmt::format("{}+{:#x}/{:#x}", symbol.name, offset, symbol.size);
  if (!symbol.module.empty()) text += fmt::format(" [{}]", symbol.module);
  return text;
}

struct Names::State {
  struct Module {
    std::string_view name;
    size_t first, end;  // in `symbols`
    std::vector<Extent> extents;
    std::vector<uint32_t> by_address;  // ascending, of equal ones in the order of the table
  };

  Texts texts;
  std::list<std::string> module_names;
  std::vector<Symbol> symbols;
  size_t own = 0;                                             // how many of them are the kernel's
  uint64_t start = 0, end = 0, init_start = 0, init_end = 0;  // what lookup() knows of the kernel
  bool has_data = false;
  std::string source;
  std::vector<Module> modules;

  /// By name: chains through `next`, in the order of the table. Made when first asked for, and anew when symbols have
  /// come since.
  struct Index {
    std::once_flag once;
    std::vector<uint32_t> heads, next;

    void make(std::span<const Symbol> symbols);
    uint32_t& head(std::string_view name) { return heads[std::hash<std::string_view>()(name) & (heads.size() - 1)]; }
  };
  std::unique_ptr<Index> by_name = std::make_unique<Index>();

  Index& index() {
    std::call_once(by_name->once, [this] { by_name->make(symbols); });
    return *by_name;
  }
  void find_borders();
  std::optional<Place> lookup(VirtAddr address) const;
  std::optional<Place> lookup(const Module& module, VirtAddr address) const;
};

void Names::State::Index::make(std::span<const Symbol> of) {
  heads.assign(std::bit_ceil(std::max<size_t>(of.size(), 16)), UINT32_MAX);
  next.assign(of.size(), UINT32_MAX);
  for (size_t i = of.size(); i-- > 0;) next[i] = std::exchange(head(of[i].name), static_cast<uint32_t>(i));
}

/// Sizes, and where the kernel begins and ends.
void Names::State::find_borders() {
  uint64_t stext = 0, text = 0, last = 0, etext = 0, sinit = 0, einit = 0;
  for (const Symbol& symbol : std::span(symbols).first(own)) {
    has_data = has_data || (std::string_view("dDbB").contains(symbol.type) && !is_section_mark(symbol));
    if (symbol.name.empty() || symbol.name[0] != '_') continue;
    if (symbol.name == "_stext") stext = symbol.address.value;
    if (symbol.name == "_text") text = symbol.address.value;
    if (symbol.name == "_etext") etext = symbol.address.value;
    if (symbol.name == "_end") last = symbol.address.value;
    if (symbol.name == "_sinittext") sinit = symbol.address.value;
    if (symbol.name == "_einittext") einit = symbol.address.value;
  }
  start = stext ? stext : text;
  if (start == 0 && own > 0) start = symbols[0].address.value;
  end = has_data && last ? last : etext;
  if (end <= start && own > 0) end = symbols[own - 1].address.value + 1;
  init_start = sinit, init_end = einit;
  uint64_t after = 0;
  for (size_t i = own; i-- > 0;) {
    Symbol& symbol = symbols[i];
    if (i + 1 < own && symbols[i + 1].address > symbol.address) after = symbols[i + 1].address.value;
    const uint64_t border = after ? after : symbol.address.value < einit && symbol.address.value >= sinit ? einit : end;
    symbol.size = border > symbol.address.value ? border - symbol.address.value : 0;
  }
}

Names::Names(std::unique_ptr<State> state) : state_(std::move(state)) {}
Names::Names(Names&&) noexcept = default;
Names& Names::operator=(Names&&) noexcept = default;
Names::~Names() = default;

Expected<Names> Names::find(const KernelMemory& memory, const GuestSystem& guest) {
  const auto fail = [&](Error error) {
    error.text = "no names of the kernel in " + memory.dump().path() + ": " + error.text;
    return std::unexpected(std::move(error));
  };
  const auto tables = find_kallsyms(memory, guest);
  if (!tables) return fail(tables.error());
  const auto tokens = read_tokens(memory, *tables);
  if (!tokens) return fail(tokens.error());
  auto state = std::make_unique<State>();
  state->texts = expand(read_names(memory, *tables), tables->count, *tokens);
  if (state->texts.names.empty())
    return fail({Error::Kind::not_present,
                 fmt::format("kallsyms_names at {:#x} cannot be read, or holds none", tables->names.value)});
  const auto addresses = read_addresses(memory, guest, *tables, state->texts.names);
  if (!addresses) return fail(addresses.error());

  state->source = tables->source;
  if (state->texts.names.size() < tables->count)
    state->source += fmt::format("; of {} names the first {} can be read", tables->count, state->texts.names.size());
  state->symbols.resize(state->texts.names.size());
  for (size_t i = 0; i < state->symbols.size(); ++i) {
    const std::string_view text = state->texts.names[i];
    state->symbols[i] = {VirtAddr((*addresses)[i]), 0, text[0], text.substr(1), {}};
  }
  state->texts.names = {};
  state->own = state->symbols.size();
  state->find_borders();
  if (state->own < tables->count) state->end = std::min(state->end, (*addresses)[state->own]);
  return Names(std::move(state));
}

void Names::add_module(std::string_view module, std::vector<Symbol> symbols, std::vector<Extent> extents) {
  auto& state = *state_;
  State::Module added{state.module_names.emplace_back(module), state.symbols.size(), 0, std::move(extents), {}};
  for (Symbol& symbol : symbols) symbol.module = added.name;
  state.symbols.insert(state.symbols.end(), symbols.begin(), symbols.end());
  added.end = state.symbols.size();
  added.by_address.resize(symbols.size());
  for (size_t i = 0; i < symbols.size(); ++i) added.by_address[i] = static_cast<uint32_t>(i);
  std::ranges::stable_sort(added.by_address, {}, [&](uint32_t i) { return symbols[i].address; });
  state.modules.push_back(std::move(added));
  state.by_name = std::make_unique<State::Index>();
}

std::span<const Symbol> Names::all() const { return state_->symbols; }

std::optional<Symbol> Names::find(std::string_view name) const {
  auto& index = state_->index();
  for (uint32_t i = index.head(name); i != UINT32_MAX; i = index.next[i])
    if (state_->symbols[i].name == name) return state_->symbols[i];
  return std::nullopt;
}

std::optional<VirtAddr> Names::address_of(std::string_view name) const {
  return find(name).transform([](const Symbol& symbol) { return symbol.address; });
}

std::vector<Symbol> Names::find_all(std::string_view name) const {
  std::vector<Symbol> found;
  auto& index = state_->index();
  for (uint32_t i = index.head(name); i != UINT32_MAX; i = index.next[i])
    if (state_->symbols[i].name == name) found.push_back(state_->symbols[i]);
  return found;
}

std::optional<Place> Names::State::lookup(VirtAddr address) const {
  const uint64_t value = address.value;
  const bool is_init = value >= init_start && value < init_end;
  if ((value < start || value >= end) && !is_init) return std::nullopt;
  const auto kernel = std::span(symbols).first(own);
  const auto after = std::ranges::upper_bound(kernel, address, {}, &Symbol::address);
  if (after == kernel.begin()) return std::nullopt;
  // Of several at one address the first, as in kallsyms_lookup, but for marks.
  auto first = std::ranges::lower_bound(kernel.begin(), after, (after - 1)->address, {}, &Symbol::address);
  for (; first != after; ++first)
    if (!is_section_mark(*first) && !first->name.empty()) return Place{*first, value - first->address.value};
  return std::nullopt;
}

std::optional<Place> Names::State::lookup(const Module& module, VirtAddr address) const {
  const auto extent =
      std::ranges::find_if(module.extents, [&](const Extent& e) { return address.value - e.address.value < e.size; });
  if (extent == module.extents.end()) return std::nullopt;
  const auto table = std::span(symbols).subspan(module.first, module.end - module.first);
  const auto of = [&](uint32_t i) { return table[i].address; };
  const auto is_name = [&](uint32_t i) { return !table[i].name.empty() && table[i].name[0] != '$'; };
  auto after = std::ranges::upper_bound(module.by_address, address, {}, of);
  uint64_t border = extent->address.value + extent->size;
  for (auto i = after; i != module.by_address.end(); ++i)
    if (is_name(*i)) {
      border = std::min(border, of(*i).value);
      break;
    }
  std::optional<uint32_t> best;
  while (after != module.by_address.begin()) {
    --after;
    if (best && of(*after) != of(*best)) break;
    if (is_name(*after)) best = *after;
  }
  if (!best || of(*best) < extent->address) return std::nullopt;
  Place place{table[*best], address.value - of(*best).value};
  place.symbol.size = border - of(*best).value;
  return place;
}

std::optional<Place> Names::lookup(VirtAddr address) const {
  if (auto place = state_->lookup(address)) return place;
  for (const State::Module& module : state_->modules)
    if (auto place = state_->lookup(module, address)) return place;
  return std::nullopt;
}

bool Names::has_data() const { return state_->has_data; }
const std::string& Names::source() const { return state_->source; }

}  // namespace gcore::reader::linux_guest
