// libcurl, loaded when the first address is opened: a program that reads a file would take several milliseconds longer
// to start if it were linked with it, for the thirty libraries that it brings. Private to the reader.
#pragma once

#include <curl/curl.h>

#include "reader/error.h"

namespace gcore::reader {

/// The functions that are used, under libcurl's names without `curl_`.
struct Curl {
  decltype(&curl_global_init) global_init;
  decltype(&curl_easy_init) easy_init;
  decltype(&curl_easy_setopt) easy_setopt;
  decltype(&curl_easy_reset) easy_reset;
  decltype(&curl_easy_getinfo) easy_getinfo;
  decltype(&curl_easy_cleanup) easy_cleanup;
  decltype(&curl_easy_strerror) easy_strerror;
  decltype(&curl_slist_append) slist_append;
  decltype(&curl_slist_free_all) slist_free_all;
  decltype(&curl_multi_init) multi_init;
  decltype(&curl_multi_setopt) multi_setopt;
  decltype(&curl_multi_add_handle) multi_add_handle;
  decltype(&curl_multi_remove_handle) multi_remove_handle;
  decltype(&curl_multi_perform) multi_perform;
  decltype(&curl_multi_poll) multi_poll;
  decltype(&curl_multi_wakeup) multi_wakeup;
  decltype(&curl_multi_info_read) multi_info_read;
  decltype(&curl_multi_cleanup) multi_cleanup;
};

/// The library, once it is loaded. The error says that it is not there, and which package has it.
Expected<const Curl*> curl();

}  // namespace gcore::reader
