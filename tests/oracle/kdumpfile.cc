#include "tests/oracle/kdumpfile.h"

#include <fcntl.h>
#include <libkdumpfile/addrxlat.h>
#include <libkdumpfile/kdumpfile.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <stdexcept>

namespace gcore::tests {

struct Kdumpfile::State {
  int fd = -1;
  kdump_ctx_t* dump = nullptr;
  addrxlat_ctx_t* context = nullptr;
  addrxlat_sys_t* system = nullptr;

  State() = default;
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  ~State() {
    if (system) addrxlat_sys_decref(system);
    if (context) addrxlat_ctx_decref(context);
    if (dump) kdump_free(dump);
    if (fd >= 0) close(fd);
  }

  void check(kdump_status status, const std::string& what) const {
    if (status == KDUMP_OK) return;
    const char* why = kdump_get_err(dump);
    throw std::runtime_error("libkdumpfile: " + what + ": " + (why ? why : kdump_strerror(status)));
  }

  Answer answer(addrxlat_status status, uint64_t physical) const {
    using Kind = Answer::Kind;
    if (status == ADDRXLAT_OK) return {Kind::mapped, physical, ""};
    const char* why = addrxlat_ctx_get_err(context);
    Answer result{Kind::other, 0, why ? why : addrxlat_strerror(status)};
    if (status == ADDRXLAT_ERR_NOTPRESENT) result.kind = Kind::not_present;
    if (status == ADDRXLAT_ERR_INVALID) result.kind = Kind::invalid;
    if (status == ADDRXLAT_ERR_NOMETH) result.kind = Kind::no_method;
    addrxlat_ctx_clear_err(context);
    return result;
  }
};

Kdumpfile::Kdumpfile(const std::string& path, bool is_linux) : state_(std::make_unique<State>()) {
  state_->fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (state_->fd < 0) throw std::runtime_error(path + ": " + std::strerror(errno));
  state_->dump = kdump_new();
  if (!state_->dump) throw std::runtime_error("libkdumpfile: no memory");
  state_->check(kdump_open_fd(state_->dump, state_->fd), "open " + path);
  if (is_linux) {
    state_->check(kdump_set_string_attr(state_->dump, KDUMP_ATTR_OSTYPE, "linux"), "take it for a Linux kernel");
  } else {  // what it would learn of the kernel
    state_->check(kdump_set_number_attr(state_->dump, KDUMP_ATTR_PAGE_SIZE, 4096), "set the size of pages");
    state_->check(kdump_set_number_attr(state_->dump, KDUMP_ATTR_XLAT_DEFAULT ".virt_bits", 48),
                  "set the width of addresses");
  }
  state_->check(kdump_get_addrxlat(state_->dump, &state_->context, &state_->system), "set up address translation");
}

Kdumpfile::~Kdumpfile() = default;

std::string Kdumpfile::read_physical(uint64_t address, size_t size) {
  std::string bytes(size, '\0');
  size_t got = size;
  state_->check(kdump_read(state_->dump, KDUMP_MACHPHYSADDR, address, bytes.data(), &got), "read physical memory");
  bytes.resize(got);
  return bytes;
}

Kdumpfile::Answer Kdumpfile::kernel_to_physical(uint64_t address) {
  addrxlat_fulladdr_t at{address, ADDRXLAT_KVADDR};
  const addrxlat_status status = addrxlat_fulladdr_conv(&at, ADDRXLAT_MACHPHYSADDR, state_->context, state_->system);
  return state_->answer(status, at.addr);
}

Kdumpfile::Answer Kdumpfile::walk(const Form& form, uint64_t root, uint64_t address) {
  addrxlat_meth_t method{};
  method.kind = ADDRXLAT_PGT;
  method.target_as = ADDRXLAT_MACHPHYSADDR;
  auto& tables = method.param.pgt;
  tables.root = {root, ADDRXLAT_MACHPHYSADDR};
  tables.pf.pte_format = form.aarch64 ? ADDRXLAT_PTE_AARCH64 : ADDRXLAT_PTE_X86_64;
  tables.pf.nfields = static_cast<unsigned short>(form.field_bits.size());
  std::copy(form.field_bits.begin(), form.field_bits.end(), tables.pf.fieldsz);
  addrxlat_step_t step{};
  step.ctx = state_->context;
  step.sys = state_->system;
  step.meth = &method;
  step.base.addr = address;
  const addrxlat_status status = addrxlat_walk(&step);
  return state_->answer(status, step.base.addr);
}

}  // namespace gcore::tests
