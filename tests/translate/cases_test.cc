// Every file in cases/ is a test; each one has a twin NAME-invalid.txt, which shows what the same rule forbids.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include "reader/translate/translator.h"
#include "tests/translate/case_file.h"

namespace gcore::tests {
namespace {

using translate::Mapping;
using translate::Translator;

std::vector<std::string> case_names() {
  std::vector<std::string> names;
  std::error_code ignored;  // a missing directory is what Cases.Exist is for
  for (const auto& entry : std::filesystem::directory_iterator(GCORE_TRANSLATE_CASES, ignored))
    if (entry.path().extension() == ".txt") names.push_back(entry.path().stem());
  std::sort(names.begin(), names.end());
  return names;
}

TEST(Cases, Exist) { ASSERT_GE(case_names().size(), 60u) << GCORE_TRANSLATE_CASES; }

TEST(Cases, EachHasItsTwin) {
  const auto names = case_names();
  for (const std::string& name : names) {
    const std::string suffix = "-invalid";
    const std::string twin = name.ends_with(suffix) ? name.substr(0, name.size() - suffix.size()) : name + suffix;
    EXPECT_TRUE(std::binary_search(names.begin(), names.end(), twin)) << name << " lacks " << twin;
  }
}

class CaseTest : public testing::TestWithParam<std::string> {};

void expect_fault(const CaseFile::Expectation& expected, const translate::Fault& fault) {
  EXPECT_EQ(to_string(fault.kind), expected.fault) << fault.text;
  EXPECT_FALSE(fault.text.empty());
  EXPECT_FALSE(fault.text.ends_with('.')) << fault.text;
  if (!expected.level.empty()) {
    EXPECT_TRUE(fault.text.starts_with(expected.level + " at 0x")) << fault.text;
  }
}

const Mapping* mapping_of(const std::vector<Mapping>& mappings, uint64_t address) {
  for (const Mapping& mapping : mappings)
    if (address - mapping.start.value < mapping.size) return &mapping;
  return nullptr;
}

/// One expectation, by all three ways: translate, walk, list.
void check(const Translator& translator, const std::vector<Mapping>& mappings, const CaseFile::Expectation& expected) {
  const translate::VirtAddr address(expected.address);
  const auto walk = translator.walk(address);
  const auto listed = mapping_of(mappings, translator.without_tag(address).value);
  const auto got = translator.translate(address);
  ASSERT_EQ(got.has_value(), walk.result.has_value());
  if (!expected.fault.empty()) {
    ASSERT_FALSE(got) << "translates to " << std::hex << got->address.value;
    expect_fault(expected, got.error());
    EXPECT_EQ(walk.result.error().text, got.error().text);
    if (got.error().kind != translate::Fault::Kind::not_canonical) {
      EXPECT_EQ(listed, nullptr);
    }
    return;
  }
  ASSERT_TRUE(got) << got.error().text;
  EXPECT_EQ(got->address.value, expected.physical) << std::hex << got->address.value;
  EXPECT_EQ(got->page_size, expected.page_size);
  EXPECT_EQ(to_string(got->permissions), expected.permissions);
  EXPECT_GE(got->contiguous, 1u);
  EXPECT_EQ(walk.result->address, got->address);
  EXPECT_EQ(walk.result->page_size, got->page_size);
  EXPECT_EQ(walk.result->permissions, got->permissions);
  EXPECT_GE(walk.result->contiguous, got->contiguous);
  EXPECT_EQ(walk.steps.empty(), expected.page_size == 0);
  ASSERT_NE(listed, nullptr);
  EXPECT_EQ(listed->physical.value + (translator.without_tag(address).value - listed->start.value), expected.physical);
  EXPECT_EQ(listed->page_size, expected.page_size);
  EXPECT_EQ(to_string(listed->permissions), expected.permissions);
}

TEST_P(CaseTest, Holds) {
  const std::string path = std::string(GCORE_TRANSLATE_CASES) + "/" + GetParam() + ".txt";
  const CaseFile file = CaseFile::load(path);
  auto paging = file.paging();
  if (file.expect_error) {
    ASSERT_FALSE(paging);
    EXPECT_FALSE(paging.error().text.empty());
    return;
  }
  ASSERT_TRUE(paging) << paging.error().text;
  const Translator translator(*std::move(paging), file.memory.reader());
  std::vector<Mapping> mappings;
  translator.enumerate([&](const Mapping& mapping) { return mappings.push_back(mapping), true; });
  for (const auto& expected : file.expectations) {
    SCOPED_TRACE(testing::Message() << path << ":" << expected.line);
    check(translator, mappings, expected);
    check(translator, mappings, expected);  // now from the cache
  }
}

INSTANTIATE_TEST_SUITE_P(Files, CaseTest, testing::ValuesIn(case_names()), [](const auto& parameter) {
  std::string name = parameter.param;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
});

}  // namespace
}  // namespace gcore::tests
