// Circles of waiting tasks that the troubled guests do not get into by themselves: several kinds of locks in one, and a
// task that waits for itself. Made of a guest in which tasks wait already: in copies of its dump locks have other
// owners.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <memory>

#include "reader/guest/linux/why.h"
#include "tests/reader_linux/opened.h"
#include "tests/support/temp_dir.h"
#include "tests/support/trouble_guest.h"

namespace gcore::tests {
namespace {

namespace fs = std::filesystem;
using namespace reader::linux_guest;
using reader::VirtAddr;
using testing::AllOf;
using testing::HasSubstr;
using testing::UnorderedElementsAre;

struct Machine {
  const char* machine;
  const char* kernel;
};
void PrintTo(const Machine& machine, std::ostream* out) { *out << machine.machine << " " << machine.kernel; }

class Circle : public testing::TestWithParam<Machine> {
 protected:
  /// A lock of the module, and who is to have it.
  struct Owner {
    const char* lock;
    const char* type;  // as BTF has it
    const char* task;
  };

  Diagnosis with(const std::vector<Owner>& owners) {
    const std::string from = trouble_guest(GetParam().machine, GetParam().kernel).dump("hung"),
                      path = folder_.path("dump");
    fs::copy_file(from, path, fs::copy_options::overwrite_existing);
    fs::permissions(path, fs::perms::owner_write, fs::perm_options::add);
    const Opened opened(from);
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    for (const Owner& owner : owners) {
      const auto lock = opened.kernel->address_of(owner.lock);
      const auto offset = opened.kernel->offset(owner.type, "owner");
      const auto& tasks = opened.kernel->tasks()->list;
      const auto task = std::ranges::find(tasks, std::string_view(owner.task), &Task::name);
      if (!lock || !offset || task == tasks.end())
        throw std::runtime_error("the guest has no " + std::string(owner.lock));
      file.seekp(static_cast<std::streamoff>(place_in_file(opened, *lock + *offset)));
      const uint64_t value = task->address.value;
      file.write(reinterpret_cast<const char*>(&value), sizeof value);
    }
    file.close();
    return diagnose(*Opened(path).kernel);
  }

  /// The one that there is.
  static Finding deadlock(const Diagnosis& diagnosis) {
    std::vector<Finding> found;
    for (const Finding& finding : diagnosis.findings)
      if (finding.kind == Finding::Kind::deadlock) found.push_back(finding);
    EXPECT_EQ(found.size(), 1U) << why_text(diagnosis);
    return found.empty() ? Finding{} : found[0];
  }
  static std::vector<std::string> names_in_role(const Finding& finding, std::string_view role) {
    std::vector<std::string> names;
    for (const Involved& task : finding.tasks)
      if (task.role == role) names.push_back(task.name);
    return names;
  }

 private:
  static uint64_t place_in_file(const Opened& opened, VirtAddr address) {
    const auto there = opened.kernel->memory().space().translate(address);
    if (!there) throw std::runtime_error(there.error().text);
    for (const reader::Segment& segment : opened.dump->segments()) {
      if (there->address < segment.address) continue;
      const uint64_t distance = there->address.value - segment.address.value;
      if (distance < segment.file_size) return segment.offset.value + distance;
    }
    throw std::runtime_error("it is not in the dump");
  }

  TempDir folder_;
};

TEST_P(Circle, OfMutexesAndAnRwsem) {
  const Diagnosis diagnosis = with({{"trouble_second", "mutex", "held-reader"},
                                    {"trouble_held_rwsem", "rw_semaphore", "mutex-three"},
                                    {"trouble_first", "mutex", "mutex-one"}});
  const Finding finding = deadlock(diagnosis);
  EXPECT_FALSE(finding.is_guess);
  EXPECT_THAT(finding.text, HasSubstr(" wait in a circle"));
  EXPECT_THAT(names_in_role(finding, "waits and holds"),
              UnorderedElementsAre("mutex-one", "held-reader", "mutex-three"));
  EXPECT_THAT(names_in_role(finding, "waits"), UnorderedElementsAre("mutex-two")) << "which waits behind them";
  const std::string text = why_text(diagnosis);
  EXPECT_THAT(text, AllOf(HasSubstr(" waits for rwsem (to read) trouble_held_rwsem [trouble] "),
                          HasSubstr(" waits for mutex trouble_second [trouble] "),
                          HasSubstr(" waits for mutex trouble_first [trouble] ")));
  // It has a signature of its own.
  EXPECT_NE(diagnosis.signature, with({}).signature);
}

TEST_P(Circle, OfAMutexAndAnRwsem) {
  const Finding finding =
      deadlock(with({{"trouble_second", "mutex", "held-reader"}, {"trouble_held_rwsem", "rw_semaphore", "mutex-one"}}));
  EXPECT_THAT(finding.text, HasSubstr(" wait for each other"));
  EXPECT_THAT(names_in_role(finding, "waits and holds"), UnorderedElementsAre("mutex-one", "held-reader"));
}

TEST_P(Circle, OfATaskAlone) {
  const Diagnosis diagnosis = with({{"trouble_second", "mutex", "mutex-one"}});
  const Finding finding = deadlock(diagnosis);
  EXPECT_THAT(finding.text, AllOf(HasSubstr("mutex-one (PID "), HasSubstr(" waits for what it has itself")));
  EXPECT_THAT(names_in_role(finding, "waits and holds"), UnorderedElementsAre("mutex-one"));
  EXPECT_THAT(names_in_role(finding, "waits"), UnorderedElementsAre("mutex-two", "mutex-three"));
  EXPECT_THAT(why_text(diagnosis), HasSubstr("; mutex-one (PID "));
}

// Names of locks are in those kernels only that have names of data.
INSTANTIATE_TEST_SUITE_P(Guests, Circle, testing::Values(Machine{"x86_64", ""}, Machine{"aarch64", "6.12"}),
                         [](const auto& test) { return std::string(test.param.machine); });

}  // namespace
}  // namespace gcore::tests
