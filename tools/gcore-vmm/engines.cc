// Which engines this build has.
#include "tools/gcore-vmm/vcpu.h"

#ifdef GCORE_HAVE_UNICORN
#include <unicorn/unicorn.h>
#endif

namespace gcore::tools::vmm {

std::string engines() {
  std::string text;
#ifdef GCORE_HAVE_UNICORN
  unsigned major = 0, minor = 0;
  uc_version(&major, &minor);
  text = "Unicorn " + std::to_string(major) + "." + std::to_string(minor);
#endif
#ifdef GCORE_HAVE_KVM
  text += text.empty() ? "KVM" : ", KVM";
#endif
  return text;
}

#ifndef GCORE_HAVE_UNICORN
std::expected<std::unique_ptr<Engine>, std::string> unicorn_engine(const Machine&) {
  return std::unexpected(std::string("this program was built without the engine unicorn; there is 'engine kvm'"));
}
#endif
#ifndef GCORE_HAVE_KVM
std::expected<std::unique_ptr<Engine>, std::string> kvm_engine(const Machine&) {
  return std::unexpected(std::string("this program was built without the engine kvm"));
}
#endif

}  // namespace gcore::tools::vmm
