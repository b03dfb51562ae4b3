"""Writes the seeds of fuzz_walk: python3 make_walk_seeds.py corpus/walk

fuzz_walk.cc describes an input. The memories are small, so that one page serves as table of several levels.
"""
import pathlib
import struct
import sys

X86_64, X86, AARCH64, REPEATS = 0, 1, 2, 4
LONG = [0x80000001, 0, 0x20, 0xD00]


def seed(name, choices, registers, memory):
    registers = list(registers) + [0] * (6 - len(registers))
    data = bytearray((max(memory) + 8 + 63) // 64 * 64)
    for address, value in memory.items():
        struct.pack_into("<Q", data, address, value)
    header = bytes([choices]) + struct.pack("<6Q", *registers)
    (pathlib.Path(sys.argv[1]) / name).write_bytes(header + data)


seed("x86_64-4level", X86_64, LONG,
     {0: 0x7, 8: 0x1007, 0x800: 0x3, 0xFF8: 0x3, 0x1008: 0x1083, 0x1010: 0x2087})
seed("x86_64-5level", X86_64, [0x80000001, 0, 0x1020, 0xD00], {0: 0x7, 8: 0x7, 0x18: 0x8000000000000083})
seed("x86_64-self", X86_64 | REPEATS, LONG, {0: 0x7})
seed("x86-pae", X86, [0x80000001, 0x20, 0x20, 0x800], {0x20: 0x1, 0x28: 0x1001, 0: 0x7, 8: 0x87, 0x1008: 0x7})
seed("x86-32", X86, [0x80000001, 0, 0x10, 0], {0: 0x0000000700000083, 8: 0x1007})
seed("x86-off", X86_64, [0x1, 0, 0, 0], {0: 1})
seed("aarch64-4k", AARCH64, [1, 16 | 16 << 16 | 2 << 30, 0, 0x1000],
     {0: 0x3, 8: 0x741, 0x10: 0x1003, 0x1008: 0x743})
seed("aarch64-4k-ds", AARCH64, [1, 12 | 12 << 16 | 2 << 30 | 1 << 59, 0, 0], {0: 0x3, 8: 0x741, 0x10: 0x303})
seed("aarch64-16k", AARCH64, [1, 17 | 2 << 14 | 17 << 16 | 1 << 30, 0, 0], {0: 0x3, 8: 0x741, 0x10: 0x743})
seed("aarch64-64k-lpa", AARCH64, [1, 12 | 1 << 14 | 12 << 16 | 3 << 30 | 6 << 32, 0, 0],
     {0: 0x3, 8: 0x741, 0x10: 0x1743})
seed("aarch64-big-endian", AARCH64 | REPEATS, [0x2000001, 25 | 25 << 16 | 2 << 30, 0, 0],
     {0: 0x0300000000000000, 8: 0x4107000000000000})
EL2, HOST = 1, 2  # in the last register: an address, and these bits
seed("aarch64-el2", AARCH64, [1, 16 | 2 << 16, 0, 0, 0, 0x1000 | EL2], {0: 0x3, 8: 0x741, 0x10: 0x1003, 0x1008: 0x743})
seed("aarch64-el2-host", AARCH64, [1, 16 | 16 << 16 | 2 << 30, 0, 0x1000, 0, 0x1000 | EL2 | HOST],
     {0: 0x3, 8: 0x741, 0x10: 0x1003, 0x1008: 0x743})
