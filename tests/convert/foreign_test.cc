// Files of other makers become dumps of either dialect. One that has no vCPUs, as is its nature, is not damaged.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/convert/convert.h"
#include "tests/support/foreign_files.h"
#include "tests/support/temp_dir.h"

namespace gcore::tests {
namespace {

using testing::Contains;
using testing::HasSubstr;
using testing::IsEmpty;

const std::string kPage(4096, 'a');

/// A file with a page of 'a' at 0.
struct Format {
  const char* name;
  std::string bytes;
  size_t cpus = 0;
  std::vector<std::string> options{};
};

std::vector<Format> formats() {
  const std::string number = le(uint64_t{0}), pair = number + number;
  const std::string cpu = virtualbox_note("VBCPU", 0xb01, virtualbox_cpu(0x100, 0x10006));
  return {
      {"raw", kPage, 0, {"--raw-memory", "x86_64"}},
      {"raw_aarch64", kPage, 0, {"--raw-memory", "aarch64,0"}},
      {"lime", lime_range(0, kPage)},
      {"avml_zeros", lime_range(0, kPage) + avml_header(0x1000, 4096, 1) + lime_range(0x3000, kPage)},
      {"avml", avml_range(0, 4096, repeated_chunk('a'))},
      {"xen", xen_core(".xen_pfn", number, kPage, xen_vcpu(1), 1), 1},
      {"xen_without", xen_core(".xen_pfn", number, kPage, "", 0)},
      {"xen_pv", xen_core(".xen_p2m", pair, kPage, xen_vcpu(1, 0xe033, kXenFpu | kXenInKernel), 1), 1},
      {"virtualbox", virtualbox_core(0x10006, cpu), 1},
      {"saved", mapped_stream({true}, kPage)},
  };
}

TEST(ConvertForeign, BothDialectsOfEach) {
  const TempDir folder;
  for (const Format& format : formats())
    for (const char* dialect : {"qnx", "vmcore"}) {
      SCOPED_TRACE(std::string(format.name) + " " + dialect);
      const std::string in = folder.write(format.name, format.bytes), out = in + "." + dialect;
      std::vector<std::string> arguments{in, out, "--dialect", dialect};
      arguments.insert(arguments.end(), format.options.begin(), format.options.end());
      const Completed done = convert(arguments);
      EXPECT_EQ(done.status, kDone) << done.err;
      if (format.cpus == 0) {
        EXPECT_THAT(done.err, HasSubstr("in " + in + ": the dump has no vCPUs: "));
      }
      const auto dump = open_dump(out);
      EXPECT_EQ(dump->dialect(), std::string_view(dialect) == "qnx" ? reader::Dialect::qnx : reader::Dialect::vmcore);
      EXPECT_THAT(dump->warnings(), IsEmpty());
      EXPECT_EQ(dump->cpus().size(), format.cpus);
      EXPECT_EQ(bytes_at(*dump, 0, 4096), kPage);
      if (format.cpus == 0) {
        EXPECT_THAT(dump->notices(), Contains("the dump has no vCPUs: its writer was given none"));
      }
      const Completed again = convert({out, out + ".again", "--dialect", dialect});
      EXPECT_EQ(again.status, kDone) << again.err;
    }
}

TEST(ConvertForeign, ZerosThatAvmlLeavesOutAreZeros) {
  const TempDir folder;
  const std::string in =
      folder.write("in", lime_range(0, kPage) + avml_header(0x1000, 8192, 1) + lime_range(0x3000, kPage));
  for (const char* dialect : {"qnx", "vmcore"}) {
    ASSERT_EQ(convert({in, in + dialect, "--dialect", dialect}).status, kDone);
    EXPECT_EQ(bytes_at(*open_dump(in + dialect), 0, 16384), kPage + std::string(8192, '\0') + kPage);
  }
}

TEST(ConvertForeign, DamageIsStillDamage) {
  const TempDir folder;
  const std::string in = folder.write("in", lime_range(0, kPage) + "oops");
  const Completed done = convert({in, in + ".out", "--dialect", "qnx"});
  EXPECT_EQ(done.status, kFailed);
  EXPECT_THAT(done.err, HasSubstr("what follows is lost"));
}

}  // namespace
}  // namespace gcore::tests
