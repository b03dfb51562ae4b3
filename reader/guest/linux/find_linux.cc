#include "reader/guest/linux/find_linux.h"
#include "reader/dump/paging_registers.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "reader/dump/vmcoreinfo.h"
#include "reader/guest/linux/direct_map.h"
#include "reader/guest/linux/kernel_tables.h"
#include "reader/guest/linux/machine.h"
#include "reader/guest/linux/mapped_image.h"
#include "reader/guest/qnx/qnx_system.h"
#include "reader/space/cpu_paging.h"
#include "reader/space/dump_translator.h"
#include "reader/space/table_isolation.h"

namespace gcore::reader {
namespace {

using translate::Mode;
using translate::Translator;

constexpr std::string_view kStext = "_stext";
constexpr size_t kMaxRoots = 4;  // vCPUs of one kernel agree on its half
// A page costs up to a microsecond to look at.
constexpr uint64_t kPage = 4096, kQuickPages = 1 << 16;

class Finder {
 public:
  Finder(const Dump& dump, GuestSearch search, GuestSystem& guest) : dump_(dump), search_(search), guest_(guest) {}

  void find() {
    if (!dump_.vmcoreinfo().empty()) {
      take({std::string(dump_.vmcoreinfo()), PhysAddr(0)}, GuestSystem::Source::note);
    }
    look_through_cpus();
    // A VMCOREINFO that its own tables confirm comes before tables that only look right.
    if (guest_.kind == GuestSystem::Kind::unknown) scan_pages(kQuickPages);
    if (guest_.kind == GuestSystem::Kind::unknown) look_for_tables(GuestSearch::quick);
    if (guest_.kind == GuestSystem::Kind::unknown && scanned_in_part_ && search_ == GuestSearch::thorough)
      scan_pages(UINT64_MAX);
    if (image_.empty()) look_through_kernel_tables();
    if (guest_.kind == GuestSystem::Kind::unknown && search_ == GuestSearch::thorough)
      look_for_tables(GuestSearch::thorough);
    if (guest_.kind == GuestSystem::Kind::unknown && unconfirmed_) take_unconfirmed();
    if (guest_.kind == GuestSystem::Kind::unknown && scanned_in_part_)
      guest_.notes.push_back("only a part of memory was searched for a kernel that the vCPUs do not show");
    describe_image();
    describe_memory();
  }

 private:
  void take(FoundNote note, GuestSystem::Source source) {
    const Vmcoreinfo info(note.text);
    guest_.kind = GuestSystem::Kind::linux_kernel;
    guest_.release = info.value("OSRELEASE").value_or("");
    guest_.kaslr_offset = info.hex("KERNELOFFSET");
    guest_.kernel_paging = paging_from_vmcoreinfo(dump_, note.text);
    guest_.vmcoreinfo_source = source;
    std::string place;
    if (source == GuestSystem::Source::memory) {
      guest_.vmcoreinfo_address = note.address;
      place = fmt::format(", found in guest memory at {:#x}", note.address.value);
    }
    guest_.kernel_paging_source = "VMCOREINFO" + place + " (the kernel's)";
    guest_.vmcoreinfo = std::move(note.text);
  }

  std::optional<format::KernelStart> kernel_start() const {
    return format::kernel_start(dump_.machine(), Vmcoreinfo(guest_.vmcoreinfo));
  }

  /// Whether these tables map the kernel where a note says that it is; unknown where they are not in the dump, or the
  /// note does not say.
  enum class Verdict : uint8_t { no, unknown, yes };
  Verdict judge(const Translator& translator, std::string_view text) const {
    const auto start = format::kernel_start(dump_.machine(), Vmcoreinfo(text));
    if (!start) return Verdict::unknown;
    const auto there = translator.translate(VirtAddr(start->address));
    if (!there) return there.error().kind == translate::Fault::Kind::table_missing ? Verdict::unknown : Verdict::no;
    return !start->physical_address || there->address.value == *start->physical_address ? Verdict::yes : Verdict::no;
  }
  bool agrees(const Translator& translator, const FoundNote& note) const {
    return judge(translator, note.text) == Verdict::yes;
  }

  /// A note speaks of the running kernel if the tables that it names agree with it: other copies (a crash kernel's, one
  /// of a kernel that was running before, a guest's of the guest) do not. The first one whose tables are not in the
  /// dump is kept for when there is no better.
  bool is_consistent(const FoundNote& note) {
    const auto paging = paging_from_vmcoreinfo(dump_, note.text);
    const Verdict verdict = paging ? judge(translator_of(dump_, *paging), note.text) : Verdict::no;
    if (verdict == Verdict::unknown && !unconfirmed_) unconfirmed_ = note;
    return verdict == Verdict::yes;
  }

  void take_unconfirmed() {
    take(*std::move(unconfirmed_), GuestSystem::Source::memory);
    guest_.notes.push_back(
        "the kernel is the one that VMCOREINFO in guest memory speaks of; its page tables, which would "
        "confirm that, are not in the dump");
  }

  /// A note of the dump that the tables of a vCPU contradict is of another kernel (one that was loaded for a crash, or
  /// ran before).
  void drop_note_against(const Translator& translator) {
    if (guest_.vmcoreinfo_source != GuestSystem::Source::note || judge(translator, guest_.vmcoreinfo) != Verdict::no)
      return;
    const std::string release = guest_.release;
    guest_ = GuestSystem{};
    contradict("the VMCOREINFO in the dump's notes (of " + release +
               ") is of another kernel than the vCPUs run, and was not used");
  }

  void contradict(std::string why) {
    guest_.notes.push_back(why);
    guest_.contradiction = std::move(why);
  }

  /// A note of the dump whose addresses are right may still be wrong about the rest (Hyper-V's says that the kernel was
  /// not moved): the kernel's own, in memory, is right.
  void settle_note(const Translator& translator, const MappedImage& image, const std::string& banner) {
    if (guest_.vmcoreinfo_source != GuestSystem::Source::note) return;
    const std::string release = release_of(banner);
    const bool is_other = !release.empty() && !guest_.release.empty() && release != guest_.release;
    const auto moved = moved_by(image);
    const bool is_elsewhere = moved && guest_.kaslr_offset && *guest_.kaslr_offset != *moved;
    if (!is_other && !is_elsewhere) return;
    const auto own =
        find_note_by_image(dump_, translator, image, [&](const FoundNote& note) { return agrees(translator, note); });
    const Vmcoreinfo info(own ? std::string_view(own->text) : std::string_view());
    if (own && info.value("OSRELEASE") == guest_.release && info.hex("KERNELOFFSET") == guest_.kaslr_offset) return;
    std::string why = "the VMCOREINFO in the dump's notes is wrong: it says ";
    why += is_other ? fmt::format("{}, and guest memory has {}", guest_.release, release)
                    : fmt::format("that the kernel was moved by {:#x}, and in guest memory it was by {:#x}",
                                  *guest_.kaslr_offset, own ? info.hex("KERNELOFFSET").value_or(*moved) : *moved);
    if (own) {
      guest_ = GuestSystem{};
      take(*own, GuestSystem::Source::memory);
    } else {
      if (is_other) guest_.release.clear();
      if (is_elsewhere) guest_.kaslr_offset.reset();
    }
    contradict(std::move(why));
  }

  /// KASLR, by where the image begins; nothing on machines whose kernels are linked to several addresses.
  std::optional<uint64_t> moved_by(const MappedImage& image) const {
    if (machine_ == nullptr || !machine_->link_address) return std::nullopt;
    return image.front().start.value - *machine_->link_address;
  }

  static std::string release_of(const std::string& banner) {
    constexpr size_t kVersion = sizeof "Linux version";
    return banner.size() <= kVersion ? "" : banner.substr(kVersion, banner.find(' ', kVersion) - kVersion);
  }

  void look_through_cpus() {
    std::vector<uint64_t> roots;
    for (const Cpu& cpu : dump_.cpus()) {
      if (roots.size() == kMaxRoots || !image_.empty()) return;
      auto paging = paging_of_cpu(dump_, cpu, dump_.vmcoreinfo());
      if (!paging || paging->paging.mode == Mode::identity) continue;
      if (const auto kernel = kernel_root_beside(dump_, paging->paging))
        set_root(paging->paging, paging->paging.upper, *kernel);
      const auto& upper = paging->paging.upper;
      if (!upper.usable || std::ranges::find(roots, upper.root.value) != roots.end()) continue;
      roots.push_back(upper.root.value);
      look_through(translator_of(dump_, std::move(paging->paging)), cpu);
    }
  }

  void look_through(Translator translator, const Cpu& cpu) {
    MappedImage image = image_at(translator, cpu);
    if (image.empty() || bytes_in_dump(dump_, image) == 0) return;
    drop_note_against(translator);
    std::string banner = find_banner(dump_, image, "");
    settle_note(translator, image, banner);
    const auto accept = [&](const FoundNote& note) { return agrees(translator, note); };
    if (guest_.vmcoreinfo_source == GuestSystem::Source::none)
      if (auto note = find_note_by_image(dump_, translator, image, accept))
        take(*std::move(note), GuestSystem::Source::memory);
    if (!guest_.release.empty() && release_of(banner) != guest_.release)
      banner = find_banner(dump_, image, guest_.release);
    if (banner.empty() && guest_.kind == GuestSystem::Kind::unknown) return;  // some other kernel, or none
    guest_.kind = GuestSystem::Kind::linux_kernel;
    guest_.banner = std::move(banner);
    image_ = std::move(image);
    image_seen_through_ = std::move(translator);
  }

  MappedImage image_at(const Translator& translator, const Cpu& cpu) const {
    const bool is_fixed = machine_ != nullptr && machine_->fixed_image != nullptr;
    if (is_fixed) return machine_->fixed_image(translator);
    if (const auto start = kernel_start())
      if (MappedImage image = image_around(translator, VirtAddr(start->address)); !image.empty()) return image;
    if (machine_ == nullptr) return {};
    for (const std::string_view name : machine_->registers_into_image) {
      const auto address = register_of(cpu, name);
      const unsigned bit = machine_->kernel_bits_from;
      if (!address || *address >> bit != UINT64_MAX >> bit) continue;
      if (MappedImage image = image_around(translator, VirtAddr(*address)); !image.empty()) return image;
    }
    return {};
  }

  /// Looks at what pages start with: a note, or a QNX image. All of them may have to be looked at, but first come those
  /// with which the kernel's allocator begins: not far above a gigabyte's border, where RAM, its image, or a zone
  /// starts.
  void scan_pages(uint64_t budget) {
    scanned_in_part_ = false;
    for (const Window window : {Window{0, 16 << 20}, Window{16 << 20, 128 << 20}, Window{128 << 20, kBlock}}) {
      for (auto extent = dump_.next_extent(PhysAddr(0)); extent; extent = dump_.next_extent(extent->address)) {
        if (extent->kind == Dump::Extent::Kind::data && scan_extent(*extent, window, budget)) return;
        if (budget == 0) return void(scanned_in_part_ = true);
        --budget;
        extent->address = extent->address + extent->size;
        if (extent->address == PhysAddr(0)) break;
      }
    }
  }

  /// A part of every gigabyte.
  static constexpr uint64_t kBlock = 1 << 30;
  struct Window {
    uint64_t begin, end;
  };

  /// True when a system was found in it.
  bool scan_extent(const Dump::Extent& extent, const Window& window, uint64_t& budget) {
    const uint64_t first_page = (0 - extent.address.value) % kPage;
    for (uint64_t done = first_page; done < extent.size; done += kPage) {
      const uint64_t at = extent.address.value + done, in_block = at % kBlock;
      if (in_block < window.begin || in_block >= window.end) {
        done += window.begin - in_block + (in_block < window.begin ? 0 : kBlock) - kPage;
        continue;
      }
      if (budget == 0) return false;
      --budget;
      if (is_system_at(PhysAddr(at))) return true;
    }
    return false;
  }

  bool is_system_at(PhysAddr page) {
    std::byte head[24];
    if (dump_.read(page, head).bytes != sizeof head) return false;
    if (std::string image = qnx_image_at(dump_, page, head); !image.empty()) {
      guest_.kind = GuestSystem::Kind::qnx;
      guest_.notes.push_back(std::move(image));
      return true;
    }
    if (!is_vmcoreinfo_name(head)) return false;
    auto note = note_at(dump_, page);
    if (!note || !is_consistent(*note)) return false;
    take(*std::move(note), GuestSystem::Source::memory);
    return true;
  }

  /// Where no vCPU has shown the image: by the tables that VMCOREINFO names.
  void look_through_kernel_tables() {
    const auto start = kernel_start();
    if (!start || !guest_.kernel_paging) return;
    Translator translator = translator_of(dump_, *guest_.kernel_paging);
    image_ = kernel_image(dump_.machine(), translator, VirtAddr(start->address));
    guest_.banner = find_banner(dump_, image_, guest_.release);
    if (!image_.empty()) image_seen_through_ = std::move(translator);
  }

  /// When there is no root and no note.
  void look_for_tables(GuestSearch search) {
    auto found = find_kernel_tables(dump_, search);
    if (!found) return;
    Translator translator = translator_of(dump_, found->paging);
    const auto accept = [&](const FoundNote& note) { return agrees(translator, note); };
    if (auto note = find_note_by_image(dump_, translator, found->image, accept))
      take(*std::move(note), GuestSystem::Source::memory);
    guest_.kind = GuestSystem::Kind::linux_kernel;
    if (!guest_.kernel_paging) {
      guest_.kernel_paging_source = "guest memory, where these tables map a Linux kernel";
      guest_.kernel_paging = std::move(found->paging);
    }
    guest_.banner = std::move(found->banner);
    image_ = std::move(found->image);
    image_seen_through_ = std::move(translator);
  }

  void describe_image() {
    if (guest_.release.empty()) guest_.release = release_of(guest_.banner);
    if (image_.empty()) return;
    auto first = std::pair(image_.front().start, image_.front().physical);
    guest_.image_symbol = machine_ != nullptr ? machine_->image_symbol : kStext;
    if (const auto start = kernel_start(); start && guest_.image_symbol == kStext)
      for (const auto& piece : image_)
        if (start->address - piece.start.value < piece.size)
          first = {VirtAddr(start->address), piece.physical + (start->address - piece.start.value)};
    std::tie(guest_.image_address, guest_.image_physical) = first;
    if (const auto moved = moved_by(image_); moved && !guest_.kaslr_offset) {
      guest_.kaslr_offset = moved;
      guest_.notes.push_back(
          fmt::format("the KASLR displacement is where the kernel's image starts, less {:#x}, the usual address of "
                      "_text: no VMCOREINFO gives it",
                      *machine_->link_address));
    }
  }

  void describe_memory() {
    if (guest_.kind != GuestSystem::Kind::linux_kernel) return;
    guest_.page_size = Vmcoreinfo(guest_.vmcoreinfo).number("PAGESIZE");
    if (!image_seen_through_) return;
    const auto& upper = image_seen_through_->paging().upper;
    if (!guest_.page_size) guest_.page_size = uint64_t{1} << upper.page_shift;
    if (upper.usable) guest_.page_offset = find_direct_map(dump_, *image_seen_through_);
  }

  const Dump& dump_;
  GuestSearch search_;
  GuestSystem& guest_;
  const linux_guest::LinuxMachine* machine_ = linux_guest::find_linux_machine(dump_.machine());
  MappedImage image_;
  std::optional<Translator> image_seen_through_;
  std::optional<FoundNote> unconfirmed_;  // see is_consistent()
  bool scanned_in_part_ = false;
};

}  // namespace

void find_linux(const Dump& dump, GuestSearch search, GuestSystem& guest) { Finder(dump, search, guest).find(); }

}  // namespace gcore::reader
