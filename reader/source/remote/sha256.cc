#include "reader/source/remote/sha256.h"

#include <llvm/ADT/ArrayRef.h>
#include <llvm/Support/SHA256.h>

#include <algorithm>

namespace gcore::reader {

Sha256 sha256(std::span<const std::byte> bytes) {
  return llvm::SHA256::hash(llvm::ArrayRef<uint8_t>(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()));
}

Sha256 sha256(std::string_view text) { return sha256(std::as_bytes(std::span(text))); }

Sha256 hmac_sha256(std::string_view key, std::string_view text) {
  constexpr size_t kBlock = 64;
  const Sha256 hashed = sha256(key);
  if (key.size() > kBlock) key = {reinterpret_cast<const char*>(hashed.data()), hashed.size()};
  std::string inner(kBlock, '\x36'), outer(kBlock, '\x5c');
  for (size_t i = 0; i < key.size(); ++i) {
    inner[i] = static_cast<char>(inner[i] ^ key[i]);
    outer[i] = static_cast<char>(outer[i] ^ key[i]);
  }
  const Sha256 first = sha256(inner.append(text));
  return sha256(outer.append(reinterpret_cast<const char*>(first.data()), first.size()));
}

std::string hex(const Sha256& hash) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  for (const uint8_t byte : hash) {
    text += kDigits[byte >> 4];
    text += kDigits[byte & 15];
  }
  return text;
}

}  // namespace gcore::reader
