/* What the C half of the test of the C interface gives to its C++ half. */
#pragma once

#include "writer/gcore_dump.h"

#ifdef __cplusplus
extern "C" {
#endif

struct c_guest {
  const char* name;
  const char* page; /* one page of memory, which all ranges show */
  size_t ranges;
  int pause_error, pauses, resumes;
  size_t first_number; /* of its one vCPU */
};

void c_guest_functions(struct gcore_guest* functions, struct c_guest* guest);
int c_dump(struct c_guest* guest, const char* target, struct gcore_result* result);

#ifdef __cplusplus
}
#endif
