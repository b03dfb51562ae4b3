#ifdef GCORE_WITH_LIBCURL

#include "reader/source/remote/curl.h"

#include <dlfcn.h>

#include <utility>

namespace gcore::reader {
namespace {

template <class Function>
bool find(void* library, const char* name, Function& into) {
  into = reinterpret_cast<Function>(::dlsym(library, name));
  return into != nullptr;
}

bool find_all(void* library, Curl& functions) {
  return find(library, "curl_global_init", functions.global_init) &&
         find(library, "curl_easy_init", functions.easy_init) &&
         find(library, "curl_easy_setopt", functions.easy_setopt) &&
         find(library, "curl_easy_reset", functions.easy_reset) &&
         find(library, "curl_easy_getinfo", functions.easy_getinfo) &&
         find(library, "curl_easy_cleanup", functions.easy_cleanup) &&
         find(library, "curl_easy_strerror", functions.easy_strerror) &&
         find(library, "curl_slist_append", functions.slist_append) &&
         find(library, "curl_slist_free_all", functions.slist_free_all) &&
         find(library, "curl_multi_init", functions.multi_init) &&
         find(library, "curl_multi_setopt", functions.multi_setopt) &&
         find(library, "curl_multi_add_handle", functions.multi_add_handle) &&
         find(library, "curl_multi_remove_handle", functions.multi_remove_handle) &&
         find(library, "curl_multi_perform", functions.multi_perform) &&
         find(library, "curl_multi_poll", functions.multi_poll) &&
         find(library, "curl_multi_wakeup", functions.multi_wakeup) &&
         find(library, "curl_multi_info_read", functions.multi_info_read) &&
         find(library, "curl_multi_cleanup", functions.multi_cleanup);
}

struct Loaded {
  Curl functions{};
  bool ready = false;

  Loaded() {
    void* library = nullptr;
    for (const char* name : {"libcurl.so.4", "libcurl-gnutls.so.4"})
      if ((library = ::dlopen(name, RTLD_NOW | RTLD_LOCAL)) != nullptr) break;
    ready =
        library != nullptr && find_all(library, functions) && functions.global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK;
  }
};

}  // namespace

Expected<const Curl*> curl() {
  static const Loaded kLoaded;
  if (kLoaded.ready) return &kLoaded.functions;
  return std::unexpected(Error{Error::Kind::unsupported,
                               "libcurl (7.66 or newer), which reads from there, is not installed (Debian: libcurl4)"});
}

}  // namespace gcore::reader

#endif
