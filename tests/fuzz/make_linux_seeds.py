#!/usr/bin/env python3
"""Writes the seeds of fuzz_linux (damages of each part of a guest, in each way), and of fuzz_btf and fuzz_dwarf (a kernel's types and a
module's). By hand, from the repository:

    tests/fuzz/make_linux_seeds.py tests/fuzz/corpus
"""
import pathlib
import random
import struct
import sys

corpus = pathlib.Path(sys.argv[1])
PARTS = ["open", "find", "names", "types", "tasks", "messages", "modules", "unwind", "why"]
numbers = random.Random(15)


def damages(part, count):
    return b"".join(struct.pack("<BBHHHQ", part, how % 8, numbers.randrange(65536), numbers.randrange(4096), numbers.randrange(65536),
                                numbers.choice((0, 0xFF, 0xFFFF800000000000, 0xFFFFFFFFFFFFFFFF, numbers.randrange(1 << 64))))
                    for how in range(count))


(corpus / "linux/whole").write_bytes(bytes([0]))
for image in range(4):
    for part, name in enumerate(PARTS):
        choices = image | (4 if part > 1 else 0) | (0 if part in (2, 3) and image == 0 else 8)
        (corpus / f"linux/{name}-{image}").write_bytes(bytes([choices]) + damages(part, 16 if part > 1 else 4))


class Btf:
    """See Documentation/bpf/btf.rst."""

    def __init__(self, first_text=0):
        self.types, self.texts, self.first = b"", b"\0" if first_text == 0 else b"", first_text

    def text(self, text):
        at = self.first + len(self.texts)
        self.texts += text.encode() + b"\0"
        return at if text else 0

    def add(self, kind, name, size, *words, members=0, flag=0):
        self.types += struct.pack(f"<III{len(words)}I", self.text(name), flag << 31 | kind << 24 | members, size, *words)

    def data(self):
        return struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(self.types), len(self.types), len(self.texts)) + self.types + self.texts


kernel = Btf()
kernel.add(1, "int", 4, 1 << 24 | 32)                                            # 1
kernel.add(4, "list_head", 16, kernel.text("next"), 3, 0, kernel.text("prev"), 3, 64, members=2)  # 2
kernel.add(2, "", 2)                                                             # 3
kernel.add(5, "", 16, kernel.text("tasks"), 2, 0, members=1)                     # 4
kernel.add(4, "task_struct", 32, kernel.text("pid"), 1, 0, 0, 4, 64, kernel.text("flag"), 1, 3 << 24 | 200, members=3, flag=1)  # 5
kernel.add(3, "", 0, 1, 1, 7)                                                    # 6
kernel.add(6, "color", 4, kernel.text("RED"), 1, members=1)                      # 7
kernel.add(19, "large", 8, kernel.text("BIG"), 1, 2, members=1)                  # 8
kernel.add(8, "pid_t", 10)                                                       # 9
kernel.add(10, "", 1)                                                            # 10
kernel.add(13, "", 1, kernel.text("task"), 3, members=1)                         # 11
kernel.add(12, "schedule", 11, members=1)                                        # 12
kernel.add(14, "runqueues", 5, 1)                                                # 13
kernel.add(15, ".data..percpu", 32, 13, 0, 32, members=1)                        # 14
kernel.add(16, "double", 8)                                                      # 15
kernel.add(17, "mark", 12, 0xFFFFFFFF)                                           # 16
kernel.add(18, "user", 1)                                                        # 17
module = Btf(len(kernel.texts))
module.add(4, "of_module", 40, module.text("task"), 5, 0, module.text("next"), 19, 256, members=2)
module.add(2, "", 18)
circle = Btf()
circle.add(8, "a", 2)
circle.add(8, "b", 1)
circle.add(4, "inner", 8, 0, 3, 0, members=1)
for name, first, second in (("whole", kernel.data(), module.data()), ("alone", kernel.data(), b""), ("circle", circle.data(), b""),
                            ("twice", kernel.data(), kernel.data())):
    (corpus / f"btf/{name}").write_bytes(struct.pack("<H", len(first)) + first + second)

# What debug information is made of, and what must not make any that is endless: types within themselves, functions that share a
# prototype, bit fields and arrays of which sizes are no sizes.
endless = Btf()
endless.add(4, "own", 16, endless.text("self"), 1, 0, endless.text("other"), 2, 64, members=2)  # 1
endless.add(5, "other", 16, endless.text("own"), 1, 0, members=1)                  # 2
endless.add(2, "", 4)                                                              # 3, of itself by way of 4
endless.add(10, "", 3)                                                             # 4
endless.add(18, "tag", 6)                                                          # 5
endless.add(2, "", 5)                                                              # 6, of itself by way of 5
endless.add(3, "", 0, 7, 7, 0xFFFFFFFF)                                            # 7
endless.add(13, "", 9, endless.text("f"), 9, members=1)                            # 8
endless.add(2, "", 8)                                                              # 9
endless.add(8, "again", 10)                                                        # 10
endless.add(4, "bits", 4, endless.text("b"), 10, 0xFF << 24 | 0xFFFFFF, members=1, flag=1)  # 11
functions = Btf()
functions.add(1, "int", 4, 1 << 24 | 32)                                           # 1
functions.add(13, "", 1, *[word for i in range(40) for word in (functions.text(f"p{i}"), 1 + i)], members=40)  # 2
for i in range(60):
    functions.add(12, f"function{i}", 2, members=1)
    functions.add(14, f"variable{i}", 1 + i, 1)
own = Btf(len(functions.texts))
for i in range(20):
    own.add(12, f"function{3 * i}", 2, members=1)
for name, first, second in (("whole", kernel.data(), module.data()), ("circle", circle.data(), b""), ("endless", endless.data(), b""),
                            ("functions", functions.data(), own.data())):
    (corpus / f"dwarf/{name}").write_bytes(struct.pack("<H", len(first)) + first + second)
