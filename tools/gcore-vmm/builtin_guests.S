// The built-in guests, as ELF files inside the program. The build system says where they are.

.section .rodata
.balign 16
.global gcore_builtin_guest_x86_64, gcore_builtin_guest_x86_64_end
gcore_builtin_guest_x86_64:
    .incbin GCORE_BUILTIN_GUEST_X86_64
gcore_builtin_guest_x86_64_end:

.balign 16
.global gcore_builtin_guest_aarch64, gcore_builtin_guest_aarch64_end
gcore_builtin_guest_aarch64:
#ifdef GCORE_BUILTIN_GUEST_AARCH64
    .incbin GCORE_BUILTIN_GUEST_AARCH64
#endif
gcore_builtin_guest_aarch64_end:

.section .note.GNU-stack, "", %progbits
