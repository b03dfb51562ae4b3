// SHA-256 and HMAC over it. Private to the reader.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace gcore::reader {

using Sha256 = std::array<uint8_t, 32>;

Sha256 sha256(std::span<const std::byte> bytes);
Sha256 sha256(std::string_view text);

/// RFC 2104.
Sha256 hmac_sha256(std::string_view key, std::string_view text);

std::string hex(const Sha256& hash);

}  // namespace gcore::reader
