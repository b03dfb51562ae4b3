// Guest memory page by page, as it may be page tables. Private to the reader.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>

#include "reader/address.h"
#include "reader/dump/dump.h"
#include "reader/guest/guest_system.h"
#include "reader/guest/linux/mapped_image.h"

namespace gcore::reader {

inline constexpr size_t kTableEntries = 512, kMaxTableCandidates = 1 << 14;
/// What hostile memory can cost: images looked through.
inline constexpr size_t kMaxImages = 16;

/// What a page of 4 KiB holds, in the host's byte order.
using Table = std::array<uint64_t, kTableEntries>;

/// Calls on_page(address, entries) for every page of data, until that says true. A quick search reads the first 64 MiB
/// of each stretch of memory, and 128 MiB in all.
void for_each_page(const Dump& dump, GuestSearch search, const std::function<bool(PhysAddr, const Table&)>& on_page);

/// Pages that look like tables map many things; a kernel's image is memory that the machine has.
bool is_memory(const Dump& dump, const MappedImage& image);

bool is_in(const MappedImage& image, PhysAddr address);

}  // namespace gcore::reader
