// A guest that is never run: its functions stand where the test expects them (see CMakeLists.txt), with unwind tables
// and line numbers.
#define AT(section_name) __attribute__((section(section_name), noinline, used))

AT(".leaf") int leaf(int x) { return x * 3; }
AT(".middle") int middle(int x) { return leaf(x) + 1; }
AT(".outer") int outer(int x) { return middle(x) + 2; }
AT(".freed") int freed(int x) { return outer(x) + 3; }
