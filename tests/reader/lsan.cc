// What LeakSanitizer is not to report: libkdumpfile 0.5.1 loses 24 KiB with each file that it opens.
extern "C" const char* __lsan_default_suppressions();
extern "C" const char* __lsan_default_suppressions() { return "leak:libkdumpfile.so"; }
