// The member "qnx": what a QNX guest's kernel tells.
#include <llvm/Support/JSON.h>

#include "tools/gcore-inspect/facts/qnx_guest.h"
#include "tools/gcore-inspect/json/values.h"

namespace gcore::tools::inspect {
namespace {

namespace json = llvm::json;

using reader::QnxTask;

json::Value thread_value(const Job& job, const QnxTask& task, const QnxTask::Thread& thread) {
  const auto pc = program_counter(thread);
  return json::Object{
      {"tid", thread.id},
      {"pc", hex_value(pc)},
      {"at", text_or_null(symbol_name(job, pc))},
      {"backtrace", backtrace_value(backtrace_of(job, task, thread))},
      {"registers", thread.registers ? program_registers_value(*thread.registers) : json::Value(nullptr)}};
}

json::Value process_value(const Job& job, const QnxTask& task) {
  json::Array threads, cpus;
  for (const QnxTask::Thread& thread : task.threads) threads.push_back(thread_value(job, task, thread));
  for (const size_t cpu : vcpus_of(job, task)) cpus.push_back(cpu);
  return json::Object{{"pid", task.process.pid},
                      {"name", text_or_null(task.process.name)},
                      {"address", hex_value(task.process.address.value)},
                      {"page_table", task.root ? hex_value(task.root->value) : json::Value(nullptr)},
                      {"cpus", std::move(cpus)},
                      {"threads", std::move(threads)}};
}

}  // namespace

void write_qnx(json::OStream& out, const Job& job) {
  if (!job.qnx_guest.is_there()) return out.attribute("qnx", nullptr);
  const auto& tasks = job.qnx_guest.tasks();
  const auto messages = job.qnx_guest.messages();
  out.attributeObject("qnx", [&] {
    if (tasks)
      out.attributeArray("processes", [&] {
        for (const QnxTask& task : tasks->list) out.value(process_value(job, task));
      });
    else
      out.attribute("processes", nullptr);
    out.attribute("messages", messages ? json::Value(utf8(*messages)) : json::Value(nullptr));
    out.attributeArray("problems", [&] {
      if (!tasks) out.value(utf8(tasks.error().text));
      if (!messages) out.value(utf8(messages.error().text));
      if (tasks)
        for (const std::string& problem : tasks->problems) out.value(utf8(problem));
    });
  });
}

}  // namespace gcore::tools::inspect
