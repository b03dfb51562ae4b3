// libcurl, loaded when the first address is opened: a program that reads a file would take several milliseconds longer
// to start if it were linked with it, for the thirty libraries that it brings. Private to the reader.
#pragma once

#include <curl/curl.h>

#include "reader/error.h"
#include "reader/source/loaded_library.h"

namespace gcore::reader {

/// The functions that are used, under libcurl's names without `curl_`.
struct Curl {
  LoadedLibrary library{"libcurl.so.4", "libcurl-gnutls.so.4"};
  decltype(&curl_global_init) global_init = library.find("curl_global_init");
  decltype(&curl_easy_init) easy_init = library.find("curl_easy_init");
  decltype(&curl_easy_setopt) easy_setopt = library.find("curl_easy_setopt");
  decltype(&curl_easy_reset) easy_reset = library.find("curl_easy_reset");
  decltype(&curl_easy_getinfo) easy_getinfo = library.find("curl_easy_getinfo");
  decltype(&curl_easy_cleanup) easy_cleanup = library.find("curl_easy_cleanup");
  decltype(&curl_easy_strerror) easy_strerror = library.find("curl_easy_strerror");
  decltype(&curl_slist_append) slist_append = library.find("curl_slist_append");
  decltype(&curl_slist_free_all) slist_free_all = library.find("curl_slist_free_all");
  decltype(&curl_multi_init) multi_init = library.find("curl_multi_init");
  decltype(&curl_multi_setopt) multi_setopt = library.find("curl_multi_setopt");
  decltype(&curl_multi_add_handle) multi_add_handle = library.find("curl_multi_add_handle");
  decltype(&curl_multi_remove_handle) multi_remove_handle = library.find("curl_multi_remove_handle");
  decltype(&curl_multi_perform) multi_perform = library.find("curl_multi_perform");
  decltype(&curl_multi_poll) multi_poll = library.find("curl_multi_poll");
  decltype(&curl_multi_wakeup) multi_wakeup = library.find("curl_multi_wakeup");
  decltype(&curl_multi_info_read) multi_info_read = library.find("curl_multi_info_read");
  decltype(&curl_multi_cleanup) multi_cleanup = library.find("curl_multi_cleanup");
  bool is_ready = library.complete() && global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK;
};

/// The library, once it is loaded. The error says that it is not there, and which package has it.
Expected<const Curl*> curl();

}  // namespace gcore::reader
