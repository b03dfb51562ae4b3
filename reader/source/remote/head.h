// The head of an HTTP reply, as far as it matters to a reader of ranges. What a server sends may be anything. Private
// to the reader.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace gcore::reader {

/// "bytes FIRST-LAST/TOTAL" or, of a range that is not there, "bytes */TOTAL".
struct ContentRange {
  bool satisfied = false;
  uint64_t first = 0, last = 0;   // of a satisfied one: first <= last < total
  std::optional<uint64_t> total;  // nothing: the server does not say (`*`)
};

/// RFC 9110, 14.4. Nothing when it makes no sense.
std::optional<ContentRange> parse_content_range(std::string_view value);

struct Head {
  int status = 0;  // 0: none has come
  std::optional<uint64_t> length;
  std::optional<ContentRange> range;
  std::string nonsense;  // a Content-Range that makes no sense, fit for printing
  std::string etag, last_modified;
  std::string region;                   // x-amz-bucket-region
  std::optional<uint32_t> retry_after;  // seconds
};

/// Takes the lines of one or more heads: a redirection's, that of 100 (continue), then the reply's own. Each status
/// line begins anew.
class HeadParser {
 public:
  void line(std::string_view line);
  const Head& head() const { return head_; }

 private:
  void field(std::string_view name, std::string_view value);
  Head head_;
};

/// What a server's error document calls the error: the text of the element Code in S3's XML, if it is a word. Else "".
std::string error_code_in(std::string_view document);

/// What the first element of that name holds, without entities. "" when there is none.
std::string xml_element(std::string_view document, std::string_view name);

}  // namespace gcore::reader
