/* The interface of the writer for C, complete: a VMM written in C needs no other header. gcore_registers.h has the
 * names of the registers. What a function or a field means that is not said here is said where dump.h and guest.h have
 * the same for C++. Everything starts with gcore_.
 *
 * Every structure that may grow starts with its size, which its _init function sets, so that a program compiled against
 * an older header goes on working with a newer library: neither reads or writes what the other does not know. A
 * structure that was not set up so is refused with a sentence that names that function. */
/* NOLINTBEGIN(readability-identifier-naming): C's habit */
#ifndef GCORE_WRITER_GCORE_DUMP_H
#define GCORE_WRITER_GCORE_DUMP_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* e_machine of ELF. */
enum gcore_machine { GCORE_MACHINE_X86 = 3, GCORE_MACHINE_X86_64 = 62, GCORE_MACHINE_AARCH64 = 183 };
enum gcore_dialect { GCORE_DIALECT_QNX = 0, GCORE_DIALECT_VMCORE = 1 };
enum gcore_compression { GCORE_COMPRESSION_NONE = 0, GCORE_COMPRESSION_GZIP = 1, GCORE_COMPRESSION_ZSTD = 2 };
enum gcore_pipe_memory { GCORE_PIPE_MEMORY_AUTOMATIC = 0, GCORE_PIPE_MEMORY_COPY = 1, GCORE_PIPE_MEMORY_LEND = 2 };
enum gcore_phase {
  GCORE_PHASE_IDLE = 0,
  GCORE_PHASE_OPENING = 1,
  GCORE_PHASE_PAUSING = 2,
  GCORE_PHASE_WRITING = 3,
  GCORE_PHASE_FINISHING = 4,
  GCORE_PHASE_PROTECTING = 5
};
enum gcore_reason { GCORE_REASON_API = 0, GCORE_REASON_SIGNAL = 1, GCORE_REASON_WATCHDOG = 2, GCORE_REASON_PANIC = 3 };

/* One range of guest memory: see MemoryRange in guest.h. `host` may be NULL and `fd` -1. */
struct gcore_memory_range {
  uint64_t address, size;
  const void* host;
  int fd;
  uint64_t fd_offset;
};

/* The registers of one vCPU, while read_cpu() runs. */
typedef struct gcore_registers gcore_registers;

/* Sets a register by name ("rip", "cr3", "x0"; gcore_registers.h has them all). 0, or -1 when the machine has none of
 * that name, or `registers` or `name` is NULL. */
int gcore_register_set(gcore_registers* registers, const char* name, uint64_t value);

/* What the VMM implements. `self` is passed to each function; the functions are called as guest.h says. Optional ones
 * may be NULL. Strings must stay valid until resume(). */
struct gcore_guest {
  size_t struct_size;
  void* self;
  int machine;                     /* enum gcore_machine */
  const char* (*name)(void* self); /* optional */
  int (*pause)(void* self);        /* 0, or an errno value: the guest then runs on and nothing is dumped */
  void (*resume)(void* self);
  size_t (*cpu_count)(void* self);
  int (*read_cpu)(void* self, size_t index, gcore_registers* registers); /* 0, or -1: this vCPU cannot be read */
  /* Fills at most `room` ranges and returns how many there are; called again with more room when they do not fit. */
  size_t (*memory)(void* self, struct gcore_memory_range* ranges, size_t room);
  size_t (*read_memory)(void* self, uint64_t address, void* to, size_t size); /* optional; with aside_memory by two
                                                                                 threads at once */
  const char* (*process_name)(void* self, size_t cpu);                        /* optional */
  const char* (*vmcoreinfo)(void* self);                                      /* optional */
  size_t (*cpu_number)(void* self, size_t index); /* optional; the machine's number for it, where these have gaps */
};
void gcore_guest_init(struct gcore_guest* guest);

/* See Options in dump.h. Strings are copied by the functions that take the structure. */
struct gcore_options {
  size_t struct_size;
  const char* target; /* "DIRECTORY" or "|COMMAND" */
  int dialect;        /* enum gcore_dialect */
  int compression;    /* enum gcore_compression */
  const char* program;
  uint64_t bytes_per_second;
  uint64_t pause_deadline_ms;
  int keep_partial;
  int sync;
  int pipe_memory;        /* enum gcore_pipe_memory */
  int signal;             /* Reason::signal of every dump with these options */
  int live;               /* the guest goes on while its memory is copied; dump.h says what that takes */
  uint64_t live_memory;   /* bytes for pages that were copied aside; 0: by the size of the guest */
  const char* page_store; /* a directory for more of them; NULL: who wants to write waits */
  uint64_t aside_memory;  /* bytes for copies that let a paused guest go on sooner (dump.h); 0: none */
};
void gcore_options_init(struct gcore_options* options);

/* See Result in dump.h. `error` and `notice` are one sentence each, or ""; text that does not fit is cut off. Set it up
 * with gcore_result_init() before it is passed to a function; one that on_done gets is the library's. */
struct gcore_result {
  size_t struct_size;
  int ok, cancelled;
  int error_code; /* errno, or 0 */
  char error[1024];
  char path[4096 + 256];
  uint64_t bytes, paused_ns;
  int command_status;
  uint64_t pages_written, pages_zero, pages_absent, pages_missing;
  uint64_t requests;
  int command_signal;
  char notice[1024];
  int live; /* the guest went on while its memory was copied */
};
void gcore_result_init(struct gcore_result* result);

/* Whether this build of the writer has that compression (an enum gcore_compression): 1 or 0. */
int gcore_compression_supported(int compression);

/* Takes one dump on the calling thread. 0, or -1: then result->error says why. `reason` is an enum gcore_reason;
 * `detail` and `result` may be NULL. */
int gcore_dump(const struct gcore_guest* guest, const struct gcore_options* options, int reason, const char* detail,
               unsigned cpu, struct gcore_result* result);

/* A thread that takes dumps on request. */
typedef struct gcore_dumper gcore_dumper;

/* `on_done` may be NULL; it is called on the dumper's thread. What `guest` points to is copied, what its `self` points
 * to must outlive the dumper. NULL on error, be it a target that cannot be used: `error` (may be NULL) then has the
 * sentence. */
gcore_dumper* gcore_dumper_create(const struct gcore_guest* guest, const struct gcore_options* options,
                                  void (*on_done)(void* self, const struct gcore_result* result), void* on_done_self,
                                  char* error, size_t error_size);
/* What creation did besides, for the VMM's log: the directory that it made. "" as a rule. Until destruction. */
const char* gcore_dumper_notice(const gcore_dumper* dumper);
/* Cancels and joins. NULL is allowed. */
void gcore_dumper_destroy(gcore_dumper* dumper);

/* Async-signal-safe: what a handler of SIGUSR2 calls. */
void gcore_dumper_request(gcore_dumper* dumper);
void gcore_dumper_request_for(gcore_dumper* dumper, int reason, const char* detail, unsigned cpu);
/* Waits for all requests made so far. `result` (may be NULL) is that of the last dump. 0, or -1 when it failed. */
int gcore_dumper_wait(gcore_dumper* dumper, struct gcore_result* result);
void gcore_dumper_cancel(gcore_dumper* dumper);
/* Bytes of guest memory done and in all, of the dump that runs; 0 and 0 when none does. Either may be NULL. */
void gcore_dumper_progress(const gcore_dumper* dumper, uint64_t* done, uint64_t* total);
/* How many dumps have finished, in whichever way. */
uint64_t gcore_dumper_dumps(const gcore_dumper* dumper);
/* What the dumper is doing: an enum gcore_phase. */
int gcore_dumper_phase(const gcore_dumper* dumper);

#ifdef __cplusplus
}
#endif
/* NOLINTEND(readability-identifier-naming) */

#endif
