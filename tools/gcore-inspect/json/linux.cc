// The member "linux": what a Linux guest's own tables tell.
#include <fmt/format.h>
#include <llvm/Support/JSON.h>

#include <map>

#include "tools/gcore-inspect/facts/linux_guest.h"
#include "tools/gcore-inspect/json/values.h"

namespace gcore::tools::inspect {
namespace {

namespace json = llvm::json;

using reader::linux_guest::Kernel;
using reader::linux_guest::Message;
using reader::linux_guest::Module;
using reader::linux_guest::Task;

template <class T>
json::Value number_or_null(const std::optional<T>& value) {
  return value ? json::Value(static_cast<int64_t>(*value)) : json::Value(nullptr);
}

json::Value address_or_null(reader::VirtAddr address) {
  return address == reader::VirtAddr(0) ? json::Value(nullptr) : hex_value(address.value);
}

/// The address spaces of processes. What is beyond the limit is null, and a problem says so.
class Areas {
 public:
  explicit Areas(const Kernel& kernel) : kernel_(kernel) {}

  json::Value of(const Task& task) {
    if (!task.is_process() || task.is_kernel_thread || task.mm == reader::VirtAddr(0)) return nullptr;
    if (listed_ >= kMost) return ++left_out_, nullptr;
    const auto areas = kernel_.areas_of(task);
    if (!areas) return nullptr;
    listed_ += areas->size();
    json::Array list;
    for (const auto& area : *areas)
      list.push_back(json::Object{{"start", hex_value(area.start.value)},
                                  {"end", hex_value(area.end.value)},
                                  {"permissions", utf8(area.permissions)},
                                  {"file_offset", hex_value(area.file_offset)},
                                  {"file", text_or_null(area.file)}});
    return list;
  }
  std::string problem() const {
    return left_out_ == 0 ? "" : fmt::format("the address spaces of {} processes are left out", left_out_);
  }

 private:
  static constexpr size_t kMost = 200'000;
  const Kernel& kernel_;
  size_t listed_ = 0, left_out_ = 0;
};

json::Value user_registers(const Kernel& kernel, const Task& task) {
  const auto registers = kernel.user_registers(task);
  return registers ? program_registers_value(*registers) : json::Value(nullptr);
}

json::Value task_value(const Job& job, const Kernel& kernel, const Task& task, json::Value stack, Areas& areas) {
  return json::Object{
      {"pid", task.tgid},
      {"tid", task.pid},
      {"parent", task.parent},
      {"name", utf8(task.name)},
      {"command_line", text_or_null(task.command_line)},
      {"state", utf8(std::string(1, task.state))},
      {"cpu", number_or_null(task.cpu)},
      {"running_on", number_or_null(task.running_on)},
      {"kernel_thread", task.is_kernel_thread},
      {"address", hex_value(task.address.value)},
      {"stack_address", address_or_null(task.stack)},
      {"page_table", task.root ? hex_value(task.root->value) : json::Value(nullptr)},
      {"start_ns", number_or_null(task.start_ns)},
      {"last_run_ns", number_or_null(task.last_run_ns)},
      {"switches", number_or_null(task.switches)},
      {"user_time_ns", number_or_null(task.user_time_ns)},
      {"system_time_ns", number_or_null(task.system_time_ns)},
      {"where", text_or_null(place_of(job, task))},
      {"stack", std::move(stack)},
      {"user_registers", user_registers(kernel, task)},
      {"areas", areas.of(task)},
  };
}

json::Value module_value(const Module& module) {
  json::Array regions, used_by;
  for (const Module::Region& region : module.regions)
    regions.push_back(
        json::Object{{"kind", utf8(region.kind)}, {"address", hex_value(region.address.value)}, {"size", region.size}});
  for (const std::string& user : module.used_by) used_by.push_back(utf8(user));
  return json::Object{
      {"name", utf8(module.name)},
      {"address", hex_value(module.address.value)},
      {"state", utf8(module.state)},
      {"size", module.size},
      {"references", module.references < 0 ? json::Value(nullptr) : json::Value(module.references)},
      {"used_by", std::move(used_by)},
      {"taints", utf8(module.taints)},
      {"build_id", text_or_null(module.build_id)},
      {"regions", std::move(regions)},
  };
}

void write_tasks(json::OStream& out, const Job& job, const Kernel& kernel, Areas& areas) {
  const auto& tasks = kernel.tasks();
  std::vector<StackGroup> groups;
  std::map<const Task*, size_t> stack_of;
  if (tasks) {
    std::vector<const Task*> all;
    for (const Task& task : tasks->list) all.push_back(&task);
    groups = stack_groups(job, all);
    for (size_t i = 0; i < groups.size(); ++i)
      for (const Task* task : groups[i].tasks) stack_of[task] = i;
    out.attributeArray("tasks", [&] {
      for (const Task& task : tasks->list) out.value(task_value(job, kernel, task, stack_of.at(&task), areas));
    });
    out.attributeArray("idle", [&] {
      for (const Task& task : tasks->idle) out.value(task_value(job, kernel, task, nullptr, areas));
    });
  } else {
    out.attribute("tasks", nullptr);
    out.attribute("idle", nullptr);
  }
  out.attributeArray("stacks", [&] {
    for (const StackGroup& group : groups) out.value(backtrace_value(group.trace));
  });
}

void write_problems(json::OStream& out, const Kernel& kernel, const Areas& areas) {
  out.attributeArray("problems", [&] {
    const auto add = [&](const auto& part) {
      if (!part) out.value(utf8(part.error().text));
    };
    add(kernel.names());
    add(kernel.types());
    add(kernel.tasks());
    add(kernel.modules());
    add(kernel.messages());
    if (kernel.tasks())
      for (const std::string& problem : kernel.tasks()->problems) out.value(utf8(problem));
    for (const std::string& problem : kernel.unwind_tables().problems) out.value(utf8(problem));
    if (const std::string problem = areas.problem(); !problem.empty()) out.value(problem);
  });
}

}  // namespace

void write_linux(json::OStream& out, const Job& job) {
  const Kernel* kernel = job.linux_guest.kernel_or_null();
  if (kernel == nullptr) return out.attribute("linux", nullptr);
  out.attributeObject("linux", [&] {
    out.attribute("uptime_ns", number_or_null(kernel->uptime_ns()));
    const auto load = kernel->load();
    out.attribute("load", load ? json::Value(json::Array{load->one / 100.0, load->five / 100.0, load->fifteen / 100.0})
                               : json::Value(nullptr));
    Areas areas(*kernel);
    write_tasks(out, job, *kernel, areas);
    if (kernel->modules())
      out.attributeArray("modules", [&] {
        for (const Module& module : *kernel->modules()) out.value(module_value(module));
      });
    else
      out.attribute("modules", nullptr);
    if (kernel->messages())
      out.attributeArray("messages", [&] {
        for (const Message& message : kernel->messages()->records)
          out.value(json::Object{{"sequence", static_cast<int64_t>(message.sequence)},
                                 {"time_ns", static_cast<int64_t>(message.time_ns)},
                                 {"facility", message.facility},
                                 {"level", message.level},
                                 {"text", utf8(message.text)}});
      });
    else
      out.attribute("messages", nullptr);
    out.attribute("why", why_value(job, *kernel));
    write_problems(out, *kernel, areas);
  });
}

json::Value task_of_cpu_value(const Job& job, size_t vcpu) {
  const auto task = task_of_cpu(job, vcpu);
  if (!task) return nullptr;
  return json::Object{{"pid", task->tgid}, {"tid", task->pid}, {"name", utf8(task->name)}};
}

}  // namespace gcore::tools::inspect
