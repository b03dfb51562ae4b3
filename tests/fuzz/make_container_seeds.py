#!/usr/bin/env python3
"""Writes the seeds of fuzz_gzip, fuzz_zstd and fuzz_kdump. By hand, from the repository:

    tests/fuzz/make_container_seeds.py tests/fuzz/corpus
"""
import gzip
import struct
import subprocess
import sys
import zlib
from pathlib import Path


def deflated(data, level=6, strategy=zlib.Z_DEFAULT_STRATEGY):
    packer = zlib.compressobj(level, zlib.DEFLATED, 31, 8, strategy)
    return packer.compress(data) + packer.flush()


def zstd(data, *options):
    return subprocess.run(["zstd", "-q", "-c", *options], input=data, stdout=subprocess.PIPE, check=True).stdout


def skippable(data, magic=0x184D2A50):
    return struct.pack("<II", magic, len(data)) + data


def seekable(frames, checksums=False):
    table = b"".join(struct.pack("<II", len(packed), size) + (b"sums" if checksums else b"") for packed, size in frames)
    footer = struct.pack("<IBI", len(frames), 0x80 if checksums else 0, 0x8F92EAB1)
    return b"".join(packed for packed, _ in frames) + skippable(table + footer, 0x184D2A5E)


def kdump(wide=True, pages=".ab-c", notes=b"", text=b"OSRELEASE=6.1\n"):
    block, size = 4096, len(pages)
    header = b"KDUMP   " + struct.pack("<I", 6) + bytes(4 * 65) + (b"x86_64" if wide else b"i686")
    header = header.ljust(424 if wide else 412, b"\0") + struct.pack("<IIIII", 1, block, 1, 2, size)
    stored = [zlib.compress(c.encode() * block) if c != "b" else c.encode() * block for c in pages if c >= "a"]
    at = 4 * block + 24 * len(stored)
    if wide:
        sub = bytes(32) + struct.pack("<QQQQ", at + len(notes), len(text), at, len(notes)) + bytes(32) + struct.pack("<Q", size)
    else:
        sub = bytes(20) + struct.pack("<QIQI", at + len(notes), len(text), at, len(notes)) + bytes(28) + struct.pack("<Q", size)
    out = header.ljust(block, b"\0") + sub.ljust(block, b"\0")
    for known in (lambda c: c != ".", lambda c: c >= "a"):
        out += bytes([sum(known(c) << i for i, c in enumerate(pages))]).ljust(block, b"\0")
    at += len(notes) + len(text)
    for page in stored:
        out += struct.pack("<QIIQ", at, len(page), int(len(page) != block), 0)
        at += len(page)
    return out + notes + text + b"".join(stored)


def flattened(data, piece=3000):
    out = b"makedumpfile".ljust(16, b"\0") + struct.pack(">qq", 1, 1)
    out = out.ljust(4096, b"\0")
    for at in range(0, len(data), piece):
        part = data[at : at + piece]
        out += struct.pack(">qq", at, len(part)) + part
    return out + struct.pack(">qq", -1, -1)


def note(name, kind, data):
    pad = lambda b: b.ljust((len(b) + 3) // 4 * 4, b"\0")
    name = name.encode() + b"\0"
    return struct.pack("<III", len(name), len(data), kind) + pad(name) + pad(data)


def main():
    folder = Path(sys.argv[1])
    text = b"".join(b"%d and so on, " % (i * 7919 % 1009) for i in range(150))
    zeros, runs = bytes(700 << 10), b"abc" * (200 << 10)
    seeds = {
        "gzip": {
            "text": deflated(text),
            "stored": deflated(text[:300], 0),
            "fixed": deflated(text[:200], 6, zlib.Z_FIXED),
            "huffman": deflated(text[:500], 6, zlib.Z_HUFFMAN_ONLY),
            "named": gzip.compress(text[:100]),
            "members": deflated(text[:50]) + deflated(b"") + deflated(text[50:90]) + bytes(20),
            "zeros": deflated(zeros, 9),
            "runs": deflated(runs, 1),
            "zeros-and-runs": deflated(zeros) + deflated(runs) + deflated(text[:99]) + deflated(zeros),
        },
        "zstd": {
            "text": zstd(text[:400]),
            "unknown-size": zstd(text[:400], "--no-content-size"),
            "zeros": zstd(zeros),
            "frames": zstd(text[:100]) + skippable(b"between") + zstd(text[100:200]) + zstd(b""),
            "seekable": seekable([(zstd(text[:150]), 150), (zstd(bytes(100000)), 100000), (zstd(text[:40]), 40)]),
            "seekable-checksums": seekable([(zstd(text[:150]), 150), (zstd(text[:40]), 40)], True),
            "unchecked": zstd(text[:300], "--no-check"),
            "run": bytes.fromhex("28b52ffd0048" + "030010" + "41"),
        },
        "kdump": {
            "wide": kdump(),
            "wide-notes": kdump(notes=note("CORE", 1, bytes(336)) + note("QEMU", 0, struct.pack("<II", 1, 440) + bytes(432))),
            "narrow": kdump(wide=False, notes=note("CORE", 1, bytes(144))),
            "all-left-out": kdump(pages="------"),
            "flattened": flattened(kdump(notes=note("CORE", 1, bytes(336)))),
        },
    }
    for target, files in seeds.items():
        (folder / target).mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            (folder / target / name).write_bytes(data)


main()
