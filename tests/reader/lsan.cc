// What LeakSanitizer is not to report: libkdumpfile 0.5.1 loses 24 KiB with each file that it opens. Visible, because
// the sanitizer's library looks for it.
extern "C" __attribute__((visibility("default"))) const char* __lsan_default_suppressions();
const char* __lsan_default_suppressions() { return "leak:libkdumpfile.so"; }
