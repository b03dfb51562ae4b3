#!/usr/bin/env python3
"""Writes the seeds of fuzz_qnx: a QNX kernel's structures where reader/guest/qnx/qnx_kernel.cc looks for them. By hand, from the repository:

    tests/fuzz/make_qnx_seeds.py tests/fuzz/corpus/qnx
"""
import pathlib
import struct
import sys

X86_64, AARCH64, I386, BIG, ENDS = 0, 1, 2, 4, 8
SECTION, INFO, DEBUG, DUMP, VECTOR, ENTRIES, PROCESS, NAME, THREADS, THREAD, MEMORY = (
    0x40, 0x140, 0x1A0, 0x200, 0x240, 0x260, 0x2A0, 0x320, 0x340, 0x360, 0x3A0)


def seed(name, choices, old=False):
    wide, data = choices & 3 != I386, bytearray(0x400)
    pointer = 8 if wide else 4

    def put(at, value, size=pointer):
        struct.pack_into((">" if choices & BIG else "<") + {2: "H", 4: "I", 8: "Q"}[size], data, at, value)

    put(4, {X86_64: 0x100, AARCH64: 0x101, I386: 0}[choices & 3], 2)  # the system page
    put(8, SECTION, 2)
    put(10, 0xF0, 2)
    put(SECTION + (160 if wide else 16), INFO)
    put(INFO + (40 if wide else 20), DEBUG)
    put(INFO + (72 if wide else 36), DUMP)
    offsets = {40: int(not old), 44: 0x10, 48: 0x10, 50: 0x18, 54: 0x40, 60: 0x8000 | 0x60}
    narrow = {40: 20, 44: 24, 48: 28, 50: 30, 54: 34, 60: 40}
    for at, value in offsets.items():
        put(DEBUG + (at if wide else narrow[at]), value, 2)
    put(DEBUG + (32 if wide else 16), VECTOR)
    put(DUMP + (16 if wide else 8), 8, 2)
    for vector, entries in ((VECTOR, ENTRIES), (PROCESS + 0x40, THREADS)):
        put(vector + (8 if wide or old else 4), entries)
        put(vector + (16 if wide else 0 if old else 8), 2, 2)
    put(ENTRIES, 1)  # a free entry
    put(ENTRIES + pointer, PROCESS)
    put(PROCESS + 0x10, 1, 4)
    put(PROCESS + 0x18, NAME)
    put(PROCESS + 0x60, MEMORY - 0x10)
    put(MEMORY - 0x10, MEMORY)
    put(MEMORY + 8, 0x1000)
    put(THREADS, THREAD)
    put(THREADS + pointer, THREAD)
    data[NAME : NAME + 5] = b"procn"
    (pathlib.Path(sys.argv[1]) / name).write_bytes(bytes([choices]) + data)


seed("x86_64", X86_64)
seed("x86_64-ends", X86_64 | ENDS)
seed("aarch64-big", AARCH64 | BIG)
seed("i386", I386)
seed("i386-old", I386, old=True)
