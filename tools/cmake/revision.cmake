# cmake -DSOURCE=... -DOUT=... -P revision.cmake: writes the header that says which commit is being built. Only when that has
# changed, so that nothing is compiled again for nothing. A source tree that is not a git work tree has no revision.
cmake_minimum_required(VERSION 3.25)
set(revision "")
if(EXISTS "${SOURCE}/.git")
  # Without the lock: who builds must not be in the way of who commits.
  execute_process(COMMAND git --no-optional-locks -C "${SOURCE}" describe --always --abbrev=12 --exclude=* --dirty=-modified
    OUTPUT_VARIABLE revision OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE status)
  if(NOT status EQUAL 0)
    set(revision "")
  endif()
endif()
file(CONFIGURE OUTPUT "${OUT}" CONTENT "#define GCORE_REVISION \"@revision@\"\n" @ONLY)
