// What the kernel has said of memory that it had not: mm/oom_kill.c, mm/show_mem.c (mm/page_alloc.c before 6.4).
#include "reader/guest/linux/why_memory.h"

#include <fmt/format.h>

#include <algorithm>

namespace gcore::reader::linux_guest {
namespace {

constexpr size_t kMostEvidence = 20;

/// Memory that neither processes nor caches nor slabs have is the kernel's own: where that is most of it, something
/// takes pages and does not give them back.
void add_unaccounted(const Scene& scene, std::span<const Message> report, Finding& finding) {
  uint64_t known = 0, total = 0, useless = 0;
  for (const Message& message : report) {
    const std::string_view text = message.text;
    if (text.starts_with("active_anon:")) {
      for (const char* name :
           {"active_anon:", " inactive_anon:", "isolated_anon:", "active_file:", " inactive_file:", "unevictable:",
            "slab_reclaimable:", "slab_unreclaimable:", " pagetables:", " free:", "free_pcp:"})
        if (const auto value = after(text, name)) known += leading_number<uint64_t>(*value).value_or(0);
      // What is free for movable pages alone (CMA) was of no use to whom asked.
      if (const auto value = after(text, "free_cma:")) {
        useless = leading_number<uint64_t>(*value).value_or(0);
        known -= std::min(known, useless);
      }
    } else if (const auto count = after(text, " hugepages_total="), size = after(text, " hugepages_size=");
               count && size) {
      // Set aside at boot or by an administrator: of kilobytes, "Node 0 hugepages_total=64 ...
      // hugepages_size=2048kB".
      known += leading_number<uint64_t>(*count).value_or(0) * leading_number<uint64_t>(*size).value_or(0) /
               std::max<uint64_t>(1, scene.kernel.guest().page_size.value_or(4096) >> 10);
    } else if (text.ends_with(" pages RAM")) {
      total = leading_number<uint64_t>(text).value_or(0);
    } else if (text.ends_with(" pages reserved") && total != 0) {
      total -= std::min(total, leading_number<uint64_t>(text).value_or(0));
    }
  }
  total -= std::min(total, useless);
  if (total == 0 || known >= total || total - known < total / 2) return;
  finding.text +=
      "; most memory is neither of processes nor of caches: a driver or module that does not give pages back is a "
      "guess";
  finding.evidence.push_back({.text = fmt::format("of {} pages, {} are free or accounted for", total, known)});
}

}  // namespace

bool is_of_killer(std::string_view text) {
  if (text.starts_with("Out of memory and no killable processes")) return true;
  const size_t mark = text.find(": Killed process ");
  const std::string_view why = text.substr(0, std::min(mark, text.size()));
  return mark != text.npos && (why.starts_with("Out of memory") || why.starts_with("Memory cgroup out of memory"));
}

void tell_out_of_memory(const Scene& scene, std::span<const Message> messages, size_t last,
                        std::vector<Finding>& findings) {
  size_t first = last;
  // Between them stands a line for each process, and there may be thousands.
  for (size_t i = last; i-- > 0 && !is_of_killer(messages[i].text);) {
    if (!contains(messages[i].text, "invoked oom-killer: ")) continue;
    first = i;
    break;
  }
  const std::string_view said = messages[last].text;
  Finding finding{.kind = Finding::Kind::out_of_memory, .time_ns = messages[first].time_ns};
  finding.is_past = true;  // until nobody was left: then a panic follows, which is told first
  std::string killed = "nobody could be killed";
  if (const auto process = after(said, "Killed process ")) {
    const auto pid = leading_number<int32_t>(*process);
    const size_t open = process->find('('),
                 close = process->find("), ") != std::string_view::npos ? process->find("), ") : process->find(") ");
    const std::string_view name =
        open < close && close != std::string_view::npos ? process->substr(open + 1, close - open - 1) : "";
    killed = fmt::format("{} (PID {}) was killed", name, pid.value_or(0));
    if (pid) finding.tasks.push_back(involved(scene, *pid, name, "was killed"));
  }
  const std::string_view invoker = messages[first].text;
  const size_t end = invoker.find(" invoked oom-killer");
  finding.text = fmt::format(
      "out of memory{}: {}{}", said.starts_with("Memory cgroup") ? " in a control group" : "", killed,
      end == std::string_view::npos ? "" : fmt::format("; {} had asked for memory", invoker.substr(0, end)));
  for (size_t i = first; i <= last; ++i) {
    const std::string_view text = messages[i].text;
    const bool is_telling =
        i == first || text.starts_with("active_anon:") || text.starts_with("oom-kill:") || contains(text, " pages RAM");
    if (i == last || (is_telling && finding.evidence.size() < kMostEvidence))
      finding.evidence.push_back(message_evidence(messages[i]));
  }
  add_unaccounted(scene, messages.subspan(first, last - first + 1), finding);
  finding.key = said.starts_with("Memory cgroup") ? "out-of-memory|cgroup" : "out-of-memory";
  for (Finding& before : findings) {
    if (before.kind != finding.kind || before.key != finding.key) continue;
    before.tasks.insert(before.tasks.end(), finding.tasks.begin(), finding.tasks.end());
    if (before.evidence.size() < kMostEvidence) before.evidence.push_back(message_evidence(messages[last]));
    return;
  }
  findings.push_back(std::move(finding));
}

}  // namespace gcore::reader::linux_guest
