// --write-symbols: the symbol file that a Linux guest's own tables make.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <span>
#include <string>

#include "reader/guest/linux/kernel.h"
#include "reader/guest/linux/symbols/symbol_file.h"
#include "tools/common/whole_file.h"
#include "tools/gcore-inspect/facts/qnx_guest.h"
#include "tools/gcore-inspect/inspect.h"
#include "writer/base/unique_fd.h"

namespace gcore::tools::inspect {
namespace {

/// Only an ELF file that is no core is replaced: not the dump, nor what somebody else wrote.
bool is_replaceable(const std::string& path) {
  const base::UniqueFd file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) return false;
  unsigned char head[18];
  const bool is_whole = read(file.get(), head, sizeof head) == sizeof head;
  return is_whole &&
         std::memcmp(head,
                     "\x7f"
                     "ELF",
                     4) == 0 &&
         head[16] == 2 && head[17] == 0;
}

}  // namespace

int write_symbols(const Job& job, const std::string& path, const reader::linux_guest::SymbolFileOptions& options) {
  const std::string attempted = "write " + printable(path);
  struct stat there{};
  const bool exists = path != "-" && stat(path.c_str(), &there) == 0;
  if (exists && S_ISDIR(there.st_mode)) return job.program.fail(attempted, "it is a folder; name a file in it");
  if (exists && S_ISREG(there.st_mode) && !is_replaceable(path))
    return job.program.fail(attempted, "it exists and is no symbol file, so it is not replaced; give another name");
  if (const auto refused = refuse_of_qnx(job, attempted)) return *refused;
  const auto kernel = reader::linux_guest::Kernel::find(job.dump, job.guest.system(reader::GuestSearch::thorough));
  if (!kernel) return job.program.fail(printable(kernel.error().text));
  const auto file = reader::linux_guest::make_symbol_file(**kernel, options);
  if (!file) return job.program.fail(printable(file.error().text));
  for (const std::string& problem : file->problems) job.program.note(printable(problem));
  if (path == "-") {
    std::fwrite(file->bytes.data(), 1, file->bytes.size(), stdout);  // run_program looks for errors
    return kExitDone;
  }
  if (const std::string why = write_whole_file(path, file->bytes, 0666); !why.empty())
    return job.program.fail(attempted, why);
  std::printf("%s: %s, %s, %s, %s, %s\n", printable(path).c_str(), human_size(file->bytes.size()).c_str(),
              counted(file->symbols, "symbol", "symbols").c_str(), counted(file->types, "type", "types").c_str(),
              counted(file->variables, "variable", "variables").c_str(),
              counted(file->unwind_rows, "unwind row", "unwind rows").c_str());
  return kExitDone;
}

}  // namespace gcore::tools::inspect
