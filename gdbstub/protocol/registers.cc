#include "gdbstub/protocol/registers.h"

#include <algorithm>
#include <array>

namespace gcore::gdbstub {
namespace {

constexpr char kCore86[] = "org.gnu.gdb.i386.core", kSegments86[] = "org.gnu.gdb.i386.segments",
               kSse86[] = "org.gnu.gdb.i386.sse", kSystem86[] = "org.gcore.i386.system",
               kCoreArm[] = "org.gnu.gdb.aarch64.core", kFpuArm[] = "org.gnu.gdb.aarch64.fpu",
               kSystemArm[] = "org.gcore.aarch64.system";

// clang-format off
constexpr Register kX86_64[] = {
    {"rax", 0, 8, "int64", "general", kCore86, "rax", ""}, {"rbx", 1, 8, "int64", "general", kCore86, "rbx", ""},
    {"rcx", 2, 8, "int64", "general", kCore86, "rcx", ""}, {"rdx", 3, 8, "int64", "general", kCore86, "rdx", ""},
    {"rsi", 4, 8, "int64", "general", kCore86, "rsi", ""}, {"rdi", 5, 8, "int64", "general", kCore86, "rdi", ""},
    {"rbp", 6, 8, "data_ptr", "general", kCore86, "rbp", ""},
    {"rsp", 7, 8, "data_ptr", "general", kCore86, "rsp", ""}, {"r8", 8, 8, "int64", "general", kCore86, "r8", ""},
    {"r9", 9, 8, "int64", "general", kCore86, "r9", ""}, {"r10", 10, 8, "int64", "general", kCore86, "r10", ""},
    {"r11", 11, 8, "int64", "general", kCore86, "r11", ""}, {"r12", 12, 8, "int64", "general", kCore86, "r12", ""},
    {"r13", 13, 8, "int64", "general", kCore86, "r13", ""}, {"r14", 14, 8, "int64", "general", kCore86, "r14", ""},
    {"r15", 15, 8, "int64", "general", kCore86, "r15", ""}, {"rip", 16, 8, "code_ptr", "general", kCore86, "rip", ""},
    {"eflags", 17, 4, "i386_eflags", "general", kCore86, "rflags", ""},
    {"cs", 18, 4, "int32", "general", kCore86, "cs", ""}, {"ss", 19, 4, "int32", "general", kCore86, "ss", ""},
    {"ds", 20, 4, "int32", "general", kCore86, "ds", ""}, {"es", 21, 4, "int32", "general", kCore86, "es", ""},
    {"fs", 22, 4, "int32", "general", kCore86, "fs", ""}, {"gs", 23, 4, "int32", "general", kCore86, "gs", ""},
    {"fs_base", 24, 8, "int64", "general", kSegments86, "fs_base", ""},
    {"gs_base", 25, 8, "int64", "general", kSegments86, "gs_base", ""},
    {"k_gs_base", 26, 8, "int64", "system", kSystem86, "kernel_gs_base", ""},
    {"cr0", 27, 8, "gcore_cr0", "system", kSystem86, "cr0", ""},
    {"cr2", 28, 8, "int64", "system", kSystem86, "cr2", ""}, {"cr3", 29, 8, "int64", "system", kSystem86, "cr3", ""},
    {"cr4", 30, 8, "gcore_cr4", "system", kSystem86, "cr4", ""},
    {"cr8", 31, 8, "int64", "system", kSystem86, "cr8", ""},
    {"efer", 32, 8, "gcore_efer", "system", kSystem86, "efer", ""},
    {"st0", 33, 10, "i387_ext", "float", kCore86, "st0.lo", "st0.hi"},
    {"st1", 34, 10, "i387_ext", "float", kCore86, "st1.lo", "st1.hi"},
    {"st2", 35, 10, "i387_ext", "float", kCore86, "st2.lo", "st2.hi"},
    {"st3", 36, 10, "i387_ext", "float", kCore86, "st3.lo", "st3.hi"},
    {"st4", 37, 10, "i387_ext", "float", kCore86, "st4.lo", "st4.hi"},
    {"st5", 38, 10, "i387_ext", "float", kCore86, "st5.lo", "st5.hi"},
    {"st6", 39, 10, "i387_ext", "float", kCore86, "st6.lo", "st6.hi"},
    {"st7", 40, 10, "i387_ext", "float", kCore86, "st7.lo", "st7.hi"},
    {"fctrl", 41, 4, "int", "float", kCore86, "fctrl", ""}, {"fstat", 42, 4, "int", "float", kCore86, "fstat", ""},
    {"ftag", 43, 4, "int", "float", kCore86, "ftag", ""}, {"fiseg", 44, 4, "int", "float", kCore86, "fip", "", 32},
    {"fioff", 45, 4, "int", "float", kCore86, "fip", ""}, {"foseg", 46, 4, "int", "float", kCore86, "fdp", "", 32},
    {"fooff", 47, 4, "int", "float", kCore86, "fdp", ""}, {"fop", 48, 4, "int", "float", kCore86, "fop", ""},
    {"xmm0", 49, 16, "vec128", "vector", kSse86, "xmm0.lo", "xmm0.hi"},
    {"xmm1", 50, 16, "vec128", "vector", kSse86, "xmm1.lo", "xmm1.hi"},
    {"xmm2", 51, 16, "vec128", "vector", kSse86, "xmm2.lo", "xmm2.hi"},
    {"xmm3", 52, 16, "vec128", "vector", kSse86, "xmm3.lo", "xmm3.hi"},
    {"xmm4", 53, 16, "vec128", "vector", kSse86, "xmm4.lo", "xmm4.hi"},
    {"xmm5", 54, 16, "vec128", "vector", kSse86, "xmm5.lo", "xmm5.hi"},
    {"xmm6", 55, 16, "vec128", "vector", kSse86, "xmm6.lo", "xmm6.hi"},
    {"xmm7", 56, 16, "vec128", "vector", kSse86, "xmm7.lo", "xmm7.hi"},
    {"xmm8", 57, 16, "vec128", "vector", kSse86, "xmm8.lo", "xmm8.hi"},
    {"xmm9", 58, 16, "vec128", "vector", kSse86, "xmm9.lo", "xmm9.hi"},
    {"xmm10", 59, 16, "vec128", "vector", kSse86, "xmm10.lo", "xmm10.hi"},
    {"xmm11", 60, 16, "vec128", "vector", kSse86, "xmm11.lo", "xmm11.hi"},
    {"xmm12", 61, 16, "vec128", "vector", kSse86, "xmm12.lo", "xmm12.hi"},
    {"xmm13", 62, 16, "vec128", "vector", kSse86, "xmm13.lo", "xmm13.hi"},
    {"xmm14", 63, 16, "vec128", "vector", kSse86, "xmm14.lo", "xmm14.hi"},
    {"xmm15", 64, 16, "vec128", "vector", kSse86, "xmm15.lo", "xmm15.hi"},
    {"mxcsr", 65, 4, "i386_mxcsr", "vector", kSse86, "mxcsr", ""},
    {"gdt_base", 66, 8, "int64", "system", kSystem86, "gdt_base", ""},
    {"gdt_limit", 67, 4, "int32", "system", kSystem86, "gdt_limit", ""},
    {"idt_base", 68, 8, "int64", "system", kSystem86, "idt_base", ""},
    {"idt_limit", 69, 4, "int32", "system", kSystem86, "idt_limit", ""},
    {"tr", 70, 4, "int32", "system", kSystem86, "tr", ""},
    {"tr_base", 71, 8, "int64", "system", kSystem86, "tr_base", ""},
    {"tr_limit", 72, 4, "int32", "system", kSystem86, "tr_limit", ""},
    {"ldtr", 73, 4, "int32", "system", kSystem86, "ldtr", ""},
    {"ldt_base", 74, 8, "int64", "system", kSystem86, "ldt_base", ""},
    {"ldt_limit", 75, 4, "int32", "system", kSystem86, "ldt_limit", ""},
    {"xcr0", 76, 8, "int64", "system", kSystem86, "xcr0", ""},
    {"star", 77, 8, "int64", "system", kSystem86, "star", ""},
    {"lstar", 78, 8, "int64", "system", kSystem86, "lstar", ""},
    {"cstar", 79, 8, "int64", "system", kSystem86, "cstar", ""},
    {"fmask", 80, 8, "int64", "system", kSystem86, "fmask", ""},
    {"sysenter_cs", 81, 8, "int64", "system", kSystem86, "sysenter_cs", ""},
    {"sysenter_esp", 82, 8, "int64", "system", kSystem86, "sysenter_esp", ""},
    {"sysenter_eip", 83, 8, "int64", "system", kSystem86, "sysenter_eip", ""},
    {"apic_base", 84, 8, "int64", "system", kSystem86, "apic_base", ""},
    {"pat", 85, 8, "int64", "system", kSystem86, "pat", ""}, {"dr0", 86, 8, "int64", "system", kSystem86, "dr0", ""},
    {"dr1", 87, 8, "int64", "system", kSystem86, "dr1", ""}, {"dr2", 88, 8, "int64", "system", kSystem86, "dr2", ""},
    {"dr3", 89, 8, "int64", "system", kSystem86, "dr3", ""}, {"dr6", 90, 8, "int64", "system", kSystem86, "dr6", ""},
    {"dr7", 91, 8, "int64", "system", kSystem86, "dr7", ""},
    {"ymm0h", 92, 16, "uint128", "vector", kAvxFeature, "ymm0h.lo", "ymm0h.hi"},
    {"ymm1h", 93, 16, "uint128", "vector", kAvxFeature, "ymm1h.lo", "ymm1h.hi"},
    {"ymm2h", 94, 16, "uint128", "vector", kAvxFeature, "ymm2h.lo", "ymm2h.hi"},
    {"ymm3h", 95, 16, "uint128", "vector", kAvxFeature, "ymm3h.lo", "ymm3h.hi"},
    {"ymm4h", 96, 16, "uint128", "vector", kAvxFeature, "ymm4h.lo", "ymm4h.hi"},
    {"ymm5h", 97, 16, "uint128", "vector", kAvxFeature, "ymm5h.lo", "ymm5h.hi"},
    {"ymm6h", 98, 16, "uint128", "vector", kAvxFeature, "ymm6h.lo", "ymm6h.hi"},
    {"ymm7h", 99, 16, "uint128", "vector", kAvxFeature, "ymm7h.lo", "ymm7h.hi"},
    {"ymm8h", 100, 16, "uint128", "vector", kAvxFeature, "ymm8h.lo", "ymm8h.hi"},
    {"ymm9h", 101, 16, "uint128", "vector", kAvxFeature, "ymm9h.lo", "ymm9h.hi"},
    {"ymm10h", 102, 16, "uint128", "vector", kAvxFeature, "ymm10h.lo", "ymm10h.hi"},
    {"ymm11h", 103, 16, "uint128", "vector", kAvxFeature, "ymm11h.lo", "ymm11h.hi"},
    {"ymm12h", 104, 16, "uint128", "vector", kAvxFeature, "ymm12h.lo", "ymm12h.hi"},
    {"ymm13h", 105, 16, "uint128", "vector", kAvxFeature, "ymm13h.lo", "ymm13h.hi"},
    {"ymm14h", 106, 16, "uint128", "vector", kAvxFeature, "ymm14h.lo", "ymm14h.hi"},
    {"ymm15h", 107, 16, "uint128", "vector", kAvxFeature, "ymm15h.lo", "ymm15h.hi"},
    {"cs_base", 108, 8, "int64", "system", kSystem86, "cs_base", ""},
    {"cs_limit", 109, 4, "int32", "system", kSystem86, "cs_limit", ""},
    {"ds_base", 110, 8, "int64", "system", kSystem86, "ds_base", ""},
    {"ds_limit", 111, 4, "int32", "system", kSystem86, "ds_limit", ""},
    {"es_base", 112, 8, "int64", "system", kSystem86, "es_base", ""},
    {"es_limit", 113, 4, "int32", "system", kSystem86, "es_limit", ""},
    {"ss_base", 114, 8, "int64", "system", kSystem86, "ss_base", ""},
    {"ss_limit", 115, 4, "int32", "system", kSystem86, "ss_limit", ""},
    {"fs_limit", 116, 4, "int32", "system", kSystem86, "fs_limit", ""},
    {"gs_limit", 117, 4, "int32", "system", kSystem86, "gs_limit", ""},
};

constexpr Register kI386[] = {
    {"eax", 0, 4, "int32", "general", kCore86, "eax", ""}, {"ecx", 1, 4, "int32", "general", kCore86, "ecx", ""},
    {"edx", 2, 4, "int32", "general", kCore86, "edx", ""}, {"ebx", 3, 4, "int32", "general", kCore86, "ebx", ""},
    {"esp", 4, 4, "data_ptr", "general", kCore86, "esp", ""},
    {"ebp", 5, 4, "data_ptr", "general", kCore86, "ebp", ""}, {"esi", 6, 4, "int32", "general", kCore86, "esi", ""},
    {"edi", 7, 4, "int32", "general", kCore86, "edi", ""}, {"eip", 8, 4, "code_ptr", "general", kCore86, "eip", ""},
    {"eflags", 9, 4, "i386_eflags", "general", kCore86, "efl", ""},
    {"cs", 10, 4, "int32", "general", kCore86, "cs", ""}, {"ss", 11, 4, "int32", "general", kCore86, "ss", ""},
    {"ds", 12, 4, "int32", "general", kCore86, "ds", ""}, {"es", 13, 4, "int32", "general", kCore86, "es", ""},
    {"fs", 14, 4, "int32", "general", kCore86, "fs", ""}, {"gs", 15, 4, "int32", "general", kCore86, "gs", ""},
    {"fs_base", 16, 4, "int32", "system", kSystem86, "fs_base", ""},
    {"gs_base", 17, 4, "int32", "system", kSystem86, "gs_base", ""},
    {"k_gs_base", 18, 4, "int32", "system", kSystem86, "kernel_gs_base", ""},
    {"cr0", 19, 4, "gcore_cr0", "system", kSystem86, "cr0", ""},
    {"cr2", 20, 4, "int32", "system", kSystem86, "cr2", ""}, {"cr3", 21, 4, "int32", "system", kSystem86, "cr3", ""},
    {"cr4", 22, 4, "gcore_cr4", "system", kSystem86, "cr4", ""},
    {"cr8", 23, 4, "int32", "system", kSystem86, "cr8", ""},
    {"efer", 24, 4, "gcore_efer", "system", kSystem86, "efer", ""},
    {"st0", 25, 10, "i387_ext", "float", kCore86, "st0.lo", "st0.hi"},
    {"st1", 26, 10, "i387_ext", "float", kCore86, "st1.lo", "st1.hi"},
    {"st2", 27, 10, "i387_ext", "float", kCore86, "st2.lo", "st2.hi"},
    {"st3", 28, 10, "i387_ext", "float", kCore86, "st3.lo", "st3.hi"},
    {"st4", 29, 10, "i387_ext", "float", kCore86, "st4.lo", "st4.hi"},
    {"st5", 30, 10, "i387_ext", "float", kCore86, "st5.lo", "st5.hi"},
    {"st6", 31, 10, "i387_ext", "float", kCore86, "st6.lo", "st6.hi"},
    {"st7", 32, 10, "i387_ext", "float", kCore86, "st7.lo", "st7.hi"},
    {"fctrl", 33, 4, "int", "float", kCore86, "fctrl", ""}, {"fstat", 34, 4, "int", "float", kCore86, "fstat", ""},
    {"ftag", 35, 4, "int", "float", kCore86, "ftag", ""}, {"fiseg", 36, 4, "int", "float", kCore86, "fip", "", 32},
    {"fioff", 37, 4, "int", "float", kCore86, "fip", ""}, {"foseg", 38, 4, "int", "float", kCore86, "fdp", "", 32},
    {"fooff", 39, 4, "int", "float", kCore86, "fdp", ""}, {"fop", 40, 4, "int", "float", kCore86, "fop", ""},
    {"xmm0", 41, 16, "vec128", "vector", kSse86, "xmm0.lo", "xmm0.hi"},
    {"xmm1", 42, 16, "vec128", "vector", kSse86, "xmm1.lo", "xmm1.hi"},
    {"xmm2", 43, 16, "vec128", "vector", kSse86, "xmm2.lo", "xmm2.hi"},
    {"xmm3", 44, 16, "vec128", "vector", kSse86, "xmm3.lo", "xmm3.hi"},
    {"xmm4", 45, 16, "vec128", "vector", kSse86, "xmm4.lo", "xmm4.hi"},
    {"xmm5", 46, 16, "vec128", "vector", kSse86, "xmm5.lo", "xmm5.hi"},
    {"xmm6", 47, 16, "vec128", "vector", kSse86, "xmm6.lo", "xmm6.hi"},
    {"xmm7", 48, 16, "vec128", "vector", kSse86, "xmm7.lo", "xmm7.hi"},
    {"mxcsr", 49, 4, "i386_mxcsr", "vector", kSse86, "mxcsr", ""},
    {"gdt_base", 50, 4, "int32", "system", kSystem86, "gdt_base", ""},
    {"gdt_limit", 51, 4, "int32", "system", kSystem86, "gdt_limit", ""},
    {"idt_base", 52, 4, "int32", "system", kSystem86, "idt_base", ""},
    {"idt_limit", 53, 4, "int32", "system", kSystem86, "idt_limit", ""},
    {"tr", 54, 4, "int32", "system", kSystem86, "tr", ""},
    {"tr_base", 55, 4, "int32", "system", kSystem86, "tr_base", ""},
    {"tr_limit", 56, 4, "int32", "system", kSystem86, "tr_limit", ""},
    {"ldtr", 57, 4, "int32", "system", kSystem86, "ldtr", ""},
    {"ldt_base", 58, 4, "int32", "system", kSystem86, "ldt_base", ""},
    {"ldt_limit", 59, 4, "int32", "system", kSystem86, "ldt_limit", ""},
    {"dr0", 60, 4, "int32", "system", kSystem86, "dr0", ""}, {"dr1", 61, 4, "int32", "system", kSystem86, "dr1", ""},
    {"dr2", 62, 4, "int32", "system", kSystem86, "dr2", ""}, {"dr3", 63, 4, "int32", "system", kSystem86, "dr3", ""},
    {"dr6", 64, 4, "int32", "system", kSystem86, "dr6", ""}, {"dr7", 65, 4, "int32", "system", kSystem86, "dr7", ""},
    {"cs_base", 66, 4, "int32", "system", kSystem86, "cs_base", ""},
    {"cs_limit", 67, 4, "int32", "system", kSystem86, "cs_limit", ""},
    {"ds_base", 68, 4, "int32", "system", kSystem86, "ds_base", ""},
    {"ds_limit", 69, 4, "int32", "system", kSystem86, "ds_limit", ""},
    {"es_base", 70, 4, "int32", "system", kSystem86, "es_base", ""},
    {"es_limit", 71, 4, "int32", "system", kSystem86, "es_limit", ""},
    {"ss_base", 72, 4, "int32", "system", kSystem86, "ss_base", ""},
    {"ss_limit", 73, 4, "int32", "system", kSystem86, "ss_limit", ""},
    {"fs_limit", 74, 4, "int32", "system", kSystem86, "fs_limit", ""},
    {"gs_limit", 75, 4, "int32", "system", kSystem86, "gs_limit", ""},
};

constexpr Register kAarch64[] = {
    {"x0", 0, 8, "int", "general", kCoreArm, "x0", ""}, {"x1", 1, 8, "int", "general", kCoreArm, "x1", ""},
    {"x2", 2, 8, "int", "general", kCoreArm, "x2", ""}, {"x3", 3, 8, "int", "general", kCoreArm, "x3", ""},
    {"x4", 4, 8, "int", "general", kCoreArm, "x4", ""}, {"x5", 5, 8, "int", "general", kCoreArm, "x5", ""},
    {"x6", 6, 8, "int", "general", kCoreArm, "x6", ""}, {"x7", 7, 8, "int", "general", kCoreArm, "x7", ""},
    {"x8", 8, 8, "int", "general", kCoreArm, "x8", ""}, {"x9", 9, 8, "int", "general", kCoreArm, "x9", ""},
    {"x10", 10, 8, "int", "general", kCoreArm, "x10", ""}, {"x11", 11, 8, "int", "general", kCoreArm, "x11", ""},
    {"x12", 12, 8, "int", "general", kCoreArm, "x12", ""}, {"x13", 13, 8, "int", "general", kCoreArm, "x13", ""},
    {"x14", 14, 8, "int", "general", kCoreArm, "x14", ""}, {"x15", 15, 8, "int", "general", kCoreArm, "x15", ""},
    {"x16", 16, 8, "int", "general", kCoreArm, "x16", ""}, {"x17", 17, 8, "int", "general", kCoreArm, "x17", ""},
    {"x18", 18, 8, "int", "general", kCoreArm, "x18", ""}, {"x19", 19, 8, "int", "general", kCoreArm, "x19", ""},
    {"x20", 20, 8, "int", "general", kCoreArm, "x20", ""}, {"x21", 21, 8, "int", "general", kCoreArm, "x21", ""},
    {"x22", 22, 8, "int", "general", kCoreArm, "x22", ""}, {"x23", 23, 8, "int", "general", kCoreArm, "x23", ""},
    {"x24", 24, 8, "int", "general", kCoreArm, "x24", ""}, {"x25", 25, 8, "int", "general", kCoreArm, "x25", ""},
    {"x26", 26, 8, "int", "general", kCoreArm, "x26", ""}, {"x27", 27, 8, "int", "general", kCoreArm, "x27", ""},
    {"x28", 28, 8, "int", "general", kCoreArm, "x28", ""}, {"x29", 29, 8, "int", "general", kCoreArm, "x29", ""},
    {"x30", 30, 8, "int", "general", kCoreArm, "x30", ""}, {"sp", 31, 8, "data_ptr", "general", kCoreArm, "sp", ""},
    {"pc", 32, 8, "code_ptr", "general", kCoreArm, "elr", ""},
    {"cpsr", 33, 4, "cpsr_flags", "general", kCoreArm, "pstate", ""},
    {"v0", 34, 16, "aarch64v", "vector", kFpuArm, "v0.lo", "v0.hi"},
    {"v1", 35, 16, "aarch64v", "vector", kFpuArm, "v1.lo", "v1.hi"},
    {"v2", 36, 16, "aarch64v", "vector", kFpuArm, "v2.lo", "v2.hi"},
    {"v3", 37, 16, "aarch64v", "vector", kFpuArm, "v3.lo", "v3.hi"},
    {"v4", 38, 16, "aarch64v", "vector", kFpuArm, "v4.lo", "v4.hi"},
    {"v5", 39, 16, "aarch64v", "vector", kFpuArm, "v5.lo", "v5.hi"},
    {"v6", 40, 16, "aarch64v", "vector", kFpuArm, "v6.lo", "v6.hi"},
    {"v7", 41, 16, "aarch64v", "vector", kFpuArm, "v7.lo", "v7.hi"},
    {"v8", 42, 16, "aarch64v", "vector", kFpuArm, "v8.lo", "v8.hi"},
    {"v9", 43, 16, "aarch64v", "vector", kFpuArm, "v9.lo", "v9.hi"},
    {"v10", 44, 16, "aarch64v", "vector", kFpuArm, "v10.lo", "v10.hi"},
    {"v11", 45, 16, "aarch64v", "vector", kFpuArm, "v11.lo", "v11.hi"},
    {"v12", 46, 16, "aarch64v", "vector", kFpuArm, "v12.lo", "v12.hi"},
    {"v13", 47, 16, "aarch64v", "vector", kFpuArm, "v13.lo", "v13.hi"},
    {"v14", 48, 16, "aarch64v", "vector", kFpuArm, "v14.lo", "v14.hi"},
    {"v15", 49, 16, "aarch64v", "vector", kFpuArm, "v15.lo", "v15.hi"},
    {"v16", 50, 16, "aarch64v", "vector", kFpuArm, "v16.lo", "v16.hi"},
    {"v17", 51, 16, "aarch64v", "vector", kFpuArm, "v17.lo", "v17.hi"},
    {"v18", 52, 16, "aarch64v", "vector", kFpuArm, "v18.lo", "v18.hi"},
    {"v19", 53, 16, "aarch64v", "vector", kFpuArm, "v19.lo", "v19.hi"},
    {"v20", 54, 16, "aarch64v", "vector", kFpuArm, "v20.lo", "v20.hi"},
    {"v21", 55, 16, "aarch64v", "vector", kFpuArm, "v21.lo", "v21.hi"},
    {"v22", 56, 16, "aarch64v", "vector", kFpuArm, "v22.lo", "v22.hi"},
    {"v23", 57, 16, "aarch64v", "vector", kFpuArm, "v23.lo", "v23.hi"},
    {"v24", 58, 16, "aarch64v", "vector", kFpuArm, "v24.lo", "v24.hi"},
    {"v25", 59, 16, "aarch64v", "vector", kFpuArm, "v25.lo", "v25.hi"},
    {"v26", 60, 16, "aarch64v", "vector", kFpuArm, "v26.lo", "v26.hi"},
    {"v27", 61, 16, "aarch64v", "vector", kFpuArm, "v27.lo", "v27.hi"},
    {"v28", 62, 16, "aarch64v", "vector", kFpuArm, "v28.lo", "v28.hi"},
    {"v29", 63, 16, "aarch64v", "vector", kFpuArm, "v29.lo", "v29.hi"},
    {"v30", 64, 16, "aarch64v", "vector", kFpuArm, "v30.lo", "v30.hi"},
    {"v31", 65, 16, "aarch64v", "vector", kFpuArm, "v31.lo", "v31.hi"},
    {"fpsr", 66, 4, "int", "float", kFpuArm, "fpsr", ""}, {"fpcr", 67, 4, "int", "float", kFpuArm, "fpcr", ""},
    {"SCTLR_EL1", 68, 8, "int", "system", kSystemArm, "sctlr_el1", ""},
    {"TCR_EL1", 69, 8, "int", "system", kSystemArm, "tcr_el1", ""},
    {"TTBR0_EL1", 70, 8, "int", "system", kSystemArm, "ttbr0_el1", ""},
    {"TTBR1_EL1", 71, 8, "int", "system", kSystemArm, "ttbr1_el1", ""},
    {"MAIR_EL1", 72, 8, "int", "system", kSystemArm, "mair_el1", ""},
    {"VBAR_EL1", 73, 8, "int", "system", kSystemArm, "vbar_el1", ""},
    {"ESR_EL1", 74, 8, "int", "system", kSystemArm, "esr_el1", ""},
    {"FAR_EL1", 75, 8, "int", "system", kSystemArm, "far_el1", ""},
    {"ELR_EL1", 76, 8, "int", "system", kSystemArm, "elr_el1", ""},
    {"SPSR_EL1", 77, 8, "int", "system", kSystemArm, "spsr_el1", ""},
    {"SP_EL0", 78, 8, "int", "system", kSystemArm, "sp_el0", ""},
    {"SP_EL1", 79, 8, "int", "system", kSystemArm, "sp_el1", ""},
    {"TPIDR_EL0", 80, 8, "int", "system", kSystemArm, "tpidr_el0", ""},
    {"TPIDR_EL1", 81, 8, "int", "system", kSystemArm, "tpidr_el1", ""},
    {"TPIDRRO_EL0", 82, 8, "int", "system", kSystemArm, "tpidrro_el0", ""},
    {"CONTEXTIDR_EL1", 83, 8, "int", "system", kSystemArm, "contextidr_el1", ""},
    {"MPIDR_EL1", 84, 8, "int", "system", kSystemArm, "mpidr_el1", ""},
    {"MIDR_EL1", 85, 8, "int", "system", kSystemArm, "midr_el1", ""},
    {"CPACR_EL1", 86, 8, "int", "system", kSystemArm, "cpacr_el1", ""},
    {"PAR_EL1", 87, 8, "int", "system", kSystemArm, "par_el1", ""},
    {"ID_AA64MMFR0_EL1", 88, 8, "int", "system", kSystemArm, "id_aa64mmfr0_el1", ""},
    {"HCR_EL2", 89, 8, "int", "system", kSystemArm, "hcr_el2", ""},
    {"SCTLR_EL2", 90, 8, "int", "system", kSystemArm, "sctlr_el2", ""},
    {"TCR_EL2", 91, 8, "int", "system", kSystemArm, "tcr_el2", ""},
    {"TTBR0_EL2", 92, 8, "int", "system", kSystemArm, "ttbr0_el2", ""},
    {"TTBR1_EL2", 93, 8, "int", "system", kSystemArm, "ttbr1_el2", ""},
    {"VTTBR_EL2", 94, 8, "int", "system", kSystemArm, "vttbr_el2", ""},
    {"VTCR_EL2", 95, 8, "int", "system", kSystemArm, "vtcr_el2", ""},
    {"MAIR_EL2", 96, 8, "int", "system", kSystemArm, "mair_el2", ""},
    {"VBAR_EL2", 97, 8, "int", "system", kSystemArm, "vbar_el2", ""},
    {"ESR_EL2", 98, 8, "int", "system", kSystemArm, "esr_el2", ""},
    {"FAR_EL2", 99, 8, "int", "system", kSystemArm, "far_el2", ""},
    {"HPFAR_EL2", 100, 8, "int", "system", kSystemArm, "hpfar_el2", ""},
    {"ELR_EL2", 101, 8, "int", "system", kSystemArm, "elr_el2", ""},
    {"SPSR_EL2", 102, 8, "int", "system", kSystemArm, "spsr_el2", ""},
    {"SP_EL2", 103, 8, "int", "system", kSystemArm, "sp_el2", ""},
    {"TPIDR_EL2", 104, 8, "int", "system", kSystemArm, "tpidr_el2", ""},
    {"CONTEXTIDR_EL2", 105, 8, "int", "system", kSystemArm, "contextidr_el2", ""},
    // The names that QEMU's stub has for three of them: those of registers that both of its states have.
    {"VBAR", 106, 8, "int", "system", kSystemArm, "vbar_el1", ""},
    {"SCTLR", 107, 8, "int", "system", kSystemArm, "sctlr_el1", ""},
    {"CPACR", 108, 8, "int", "system", kSystemArm, "cpacr_el1", ""},
};

/// What GDB (14 or later) takes from return addresses that are signed; Target makes them up.
constexpr Register kPauthArm[] = {
    {"pauth_dmask", 0, 8, "int", "system", kPauthFeature, "pauth_mask", ""},
    {"pauth_cmask", 1, 8, "int", "system", kPauthFeature, "pauth_mask", ""},
    {"pauth_dmask_high", 2, 8, "int", "system", kPauthFeature, "pauth_mask_high", ""},
    {"pauth_cmask_high", 3, 8, "int", "system", kPauthFeature, "pauth_mask_high", ""},
};

// clang-format on

/// One list after the other, numbered on.
template <size_t N, size_t M>
constexpr std::array<Register, N + M> joined(const Register (&first)[N], const Register (&second)[M]) {
  std::array<Register, N + M> all{};
  std::copy_n(first, N, all.begin());
  for (size_t i = 0; i < M; ++i) {
    all[N + i] = second[i];
    all[N + i].number = static_cast<uint16_t>(N + i);
  }
  return all;
}
constexpr auto kAllAarch64 = joined(kAarch64, kPauthArm);

/// A register's number is its place in the list, so that looking one up by number needs no search.
template <size_t N>
constexpr bool numbered_in_order(const Register (&all)[N]) {
  for (size_t i = 0; i < N; ++i)
    if (all[i].number != i) return false;
  return true;
}
static_assert(numbered_in_order(kX86_64) && numbered_in_order(kI386) && numbered_in_order(kAarch64));

// x86: up to the segment registers (and bases); what follows in number are system registers, so the x87 and SSE
// registers after them are read one by one too. aarch64: the core and the floating-point registers.
constexpr RegisterSet kX86_64Set{kX86_64, 26, 24, 16, 7};
constexpr RegisterSet kI386Set{kI386, 16, 16, 8, 4};
constexpr RegisterSet kAarch64Set{kAllAarch64, 68, 68, 32, 31};

}  // namespace

const RegisterSet& register_set(Arch arch) {
  switch (arch) {
    case Arch::aarch64:
      return kAarch64Set;
    case Arch::i386:
      return kI386Set;
    case Arch::x86_64:
      break;
  }
  return kX86_64Set;
}

}  // namespace gcore::gdbstub
