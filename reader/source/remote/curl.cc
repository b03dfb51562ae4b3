#ifdef GCORE_WITH_LIBCURL

#include "reader/source/remote/curl.h"

#include "reader/source/loaded_library.h"

namespace gcore::reader {
namespace {

struct Loaded {
  Curl functions{};
  bool ready = false;

  Loaded() {
    LoadedLibrary library{"libcurl.so.4", "libcurl-gnutls.so.4"};
    library.find("curl_global_init", functions.global_init)
        .find("curl_easy_init", functions.easy_init)
        .find("curl_easy_setopt", functions.easy_setopt)
        .find("curl_easy_reset", functions.easy_reset)
        .find("curl_easy_getinfo", functions.easy_getinfo)
        .find("curl_easy_cleanup", functions.easy_cleanup)
        .find("curl_easy_strerror", functions.easy_strerror)
        .find("curl_slist_append", functions.slist_append)
        .find("curl_slist_free_all", functions.slist_free_all)
        .find("curl_multi_init", functions.multi_init)
        .find("curl_multi_setopt", functions.multi_setopt)
        .find("curl_multi_add_handle", functions.multi_add_handle)
        .find("curl_multi_remove_handle", functions.multi_remove_handle)
        .find("curl_multi_perform", functions.multi_perform)
        .find("curl_multi_poll", functions.multi_poll)
        .find("curl_multi_wakeup", functions.multi_wakeup)
        .find("curl_multi_info_read", functions.multi_info_read)
        .find("curl_multi_cleanup", functions.multi_cleanup);
    ready = library.complete() && functions.global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK;
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
