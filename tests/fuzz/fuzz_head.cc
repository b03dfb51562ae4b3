// What a server and files of AWS's tools say, to all that reads it: the lines of replies' heads, error documents,
// addresses, profiles.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "reader/source/remote/aws.h"
#include "reader/source/remote/head.h"
#include "reader/source/remote/transfers.h"
#include "reader/source/remote/url.h"
#include "tests/fuzz/input_file.h"

namespace {

using namespace gcore::reader;  // NOLINT: a program of one file
using gcore::tests::require;

bool is_printable(std::string_view text) {
  return std::ranges::all_of(text, [](char c) { return c >= ' ' && c <= '~'; });
}

void check_range(const std::optional<ContentRange>& range) {
  if (!range) return;
  require(range->satisfied || range->total.has_value());
  require(!range->satisfied || range->first <= range->last);
  require(!range->satisfied || !range->total || range->last < *range->total);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  check_range(parse_content_range(text));
  HeadParser parser;
  for (std::string_view rest = text; !rest.empty();) {
    const size_t end = std::min(rest.find('\n'), rest.size() - 1) + 1;
    parser.line(rest.substr(0, end));
    rest.remove_prefix(end);
    const Head& head = parser.head();
    check_range(head.range);
    for (const std::string_view kept : {std::string_view(head.etag), std::string_view(head.last_modified),
                                        std::string_view(head.nonsense), std::string_view(head.region)})
      require(is_printable(kept) && kept.size() <= 1024);
  }
  require(is_printable(words_for_status(parser.head(), text, true)));
  require(error_code_in(text).size() <= 64);
  (void)xml_element(text, "UploadId");
  (void)parse_aws_file(text);
  (void)parse_s3_url(text);
  for (const char* scheme : {"https://", "s3://"}) {
    const std::string url = scheme + std::string(text);
    (void)without_secrets(shown_url(url), url);
    const std::string shown = shown_url(std::string(scheme) + "user:\x01secret\x01@host/" + std::string(text));
    require(scheme[0] == 's' || text.find("secret") != std::string_view::npos ||
            shown.find("\x01secret\x01") == std::string::npos);
  }
  return 0;
}
