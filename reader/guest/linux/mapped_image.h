// The memory of a running kernel's image, as its page tables map it. Private to the reader.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "reader/address.h"
#include "reader/dump/dump.h"
#include "reader/translate/translator.h"
#include "reader/translate/types.h"

namespace gcore::reader {

/// Stretches of an image: each contiguous in virtual and physical memory, with equal permissions; ascending.
using MappedImage = std::vector<translate::Mapping>;

/// Bytes of them together.
uint64_t size_of(const MappedImage& image);

/// Bytes of them in memory that the dump has, or would have if its file were not cut.
uint64_t bytes_in_dump(const Dump& dump, const MappedImage& image);

/// What is mapped in a stretch of addresses that holds a kernel's image and nothing else. Empty when nothing is, or
/// when it cannot be a kernel.
MappedImage image_between(const translate::Translator& translator, VirtAddr from, VirtAddr end);

/// The image that is mapped around a kernel address in it, gaps of less than 16 MiB (memory that was freed after boot)
/// included. Empty when what is mapped there cannot be one (4 MiB to 512 MiB).
MappedImage image_around(const translate::Translator& translator, VirtAddr inside);

/// The running kernel's image: what lies where every kernel of the machine has it, or what is around an address in it;
/// empty where none is known.
MappedImage kernel_image(format::Machine machine, const translate::Translator& translator,
                         std::optional<VirtAddr> inside);

/// A VMCOREINFO note in guest memory.
struct FoundNote {
  std::string text;
  PhysAddr address;  // of the note's first byte
};
/// Whether a note is the running kernel's.
using AcceptNote = std::function<bool(const FoundNote&)>;

/// Whether the first 24 bytes of something are those of a note of that name.
bool is_vmcoreinfo_name(std::span<const std::byte> head);

/// The note at the start of a page of guest memory (in kernels before 4.13 anywhere), if it has one.
std::optional<FoundNote> note_at(const Dump& dump, PhysAddr address);

/// The note that the image holds, or to whose first byte a pointer in its writable part points: the kernel keeps one
/// (vmcoreinfo_note). Reads the writable part once, and at most 2^17 of the places that its pointers name.
std::optional<FoundNote> find_note_by_image(const Dump& dump, const translate::Translator& translator,
                                            const MappedImage& image, const AcceptNote& accept);

/// "Linux version ..." in the image: the line that the kernel prints first. `release`, if not empty, is in it. "" when
/// it is not there.
std::string find_banner(const Dump& dump, const MappedImage& image, std::string_view release);

}  // namespace gcore::reader
