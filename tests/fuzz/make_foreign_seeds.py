#!/usr/bin/env python3
"""Writes seeds of fuzz_open: small files of other makers' formats. From the repository:

    tests/fuzz/make_foreign_seeds.py tests/fuzz/corpus
"""
import pathlib
import struct
import sys

PAGE = 4096
DESCRIPTION = (b'{"devices":[{"name":"cpu","instance_id":0,"vmsd_name":"cpu","version":12,"fields":['
               b'{"name":"env.eip","type":"uint64","size":8},{"name":"env.regs","array_len":2,"type":"uint64","size":8}]}]}')


def name(text):
    return bytes([len(text)]) + text


def head(machine, capability=None):
    text = b"QEVM" + struct.pack(">IBI", 3, 7, len(machine)) + machine
    if capability:
        text += b"\x05" + name(b"configuration/capabilities") + struct.pack(">II", 1, 1) + name(capability)
    return text


def footer():
    return struct.pack(">BI", 0x7e, 2)


def tail():
    cpu = struct.pack(">BI", 4, 3) + name(b"cpu") + struct.pack(">IIQQQ", 0, 12, 0x1000, 1, 2) + struct.pack(">BI", 0x7e, 3)
    return cpu + struct.pack(">BBI", 0, 6, len(DESCRIPTION)) + DESCRIPTION


def start(total):
    return struct.pack(">BI", 1, 2) + name(b"ram") + struct.pack(">IIQ", 0, 4, total | 4)


def stream(machine, blocks=((b"pc.ram", 4 * PAGE),)):
    text = head(machine) + start(sum(size for _, size in blocks))
    for block, size in blocks:
        text += name(block) + struct.pack(">Q", size)
    text += struct.pack(">Q", 0x10) + footer() + struct.pack(">BI", 3, 2)
    text += struct.pack(">Q", PAGE | 8) + name(blocks[0][0]) + b"p" * PAGE
    text += struct.pack(">QB", 2 * PAGE | 0x22, 7) + struct.pack(">QB", PAGE | 0x22, 0) + struct.pack(">Q", 0x10)
    return text + footer() + tail()


def mapped():
    text = head(b"pc-q35-10.0", b"mapped-ram") + start(3 * PAGE) + name(b"pc.ram") + struct.pack(">Q", 3 * PAGE)
    bitmap = len(text) + 28
    text += struct.pack(">IQQQ", 1, PAGE, bitmap, bitmap + 8) + b"\x05" + bytes(7) + b"m" * 3 * PAGE
    return text + struct.pack(">Q", 0x10) + footer() + tail()


def libvirt(content, compression=0, magic=b"LibvirtQemudSave"):
    xml = b"<domain><name>vm</name></domain>\0"
    return magic + struct.pack("<5I", 2, len(xml), 1, compression, 0) + bytes(56) + xml + content


def lime(*ranges):
    return b"".join(b"EMiL" + struct.pack("<IQQQ", 1, first, first + len(data) - 1, 0) + data for first, data in ranges)


def crc32c(data):
    value = 0xffffffff
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0x82f63b78 if value & 1 else 0)
    return value ^ 0xffffffff


def snappy_chunk(kind, data, memory):
    """A chunk of snappy's framing format: its type, its size in 24 bits, the masked sum of what it unpacks to."""
    value = crc32c(memory)
    body = struct.pack("<I", ((value >> 15 | value << 17) + 0xa282ead8) & 0xffffffff) + data
    return bytes([kind]) + struct.pack("<I", len(body))[:3] + body


def avml_header(first, size, version=2):
    return (b"EMiL" if version == 1 else b"AVML") + struct.pack("<IQQQ", version, first, first + size - 1, 0)


def avml():
    """Compressed and plain memory, padding, and a range of zeros that has no bytes."""
    plain = b"plain memory"
    repeated = bytes([64, 0]) + b"r" + bytes([63 - 1 << 2 | 2, 1, 0])  # 64 bytes: a literal, and a copy of it
    start, padding = b"\xff\6\0\0sNaPpY", b"\xfe\3\0\0pad"
    packed = snappy_chunk(0, repeated, b"r" * 64)
    both = start + packed + snappy_chunk(1, plain, plain)
    text = avml_header(0x1000, 64 + len(plain)) + both + struct.pack("<Q", len(both)) + avml_header(0x2000, PAGE)
    padded = start + padding + packed
    return text + avml_header(0x100000000, 64) + padded + struct.pack("<Q", len(padded))


def virtualbox():
    def note(title, kind, content):
        return struct.pack("<III", len(title), len(content), kind) + title.ljust(8, b"\0") + content
    notes = note(b"VBCORE", 0xb00, struct.pack("<6I", 0xc01ac0de, 0x10006, 24, 0, 0, 1))
    notes += note(b"VBCPU", 0xb01, bytes(range(256)) * 34 + bytes(72))
    header = b"\x7fELF\2\1\1" + bytes(9) + struct.pack("<HHIQQQIHHHHHH", 4, 62, 1, 0, 64, 0, 0, 64, 56, 2, 64, 0, 0)
    at = 64 + 2 * 56
    header += struct.pack("<IIQQQQQQ", 4, 0, at, 0, 0, len(notes), len(notes), 0)
    header += struct.pack("<IIQQQQQQ", 1, 0, at + len(notes), 0, 0, 64, 64, 0)
    return header + notes + b"v" * 64


def xen(table=b".xen_pfn"):
    numbers = struct.pack("<QQ", 1, 5) if table == b".xen_pfn" else struct.pack("<4Q", 1, 9, 5, 2)
    contents = [(b"", b""), (b".note.Xen", struct.pack("<III4s4Q", 4, 32, 0x2000001, b"Xen", 0xf00febee, 1, 2, PAGE)),
                (b".xen_prstatus", bytes(512) + b"\1" + bytes(4655)), (table, numbers), (b".xen_pages", b"x" * 2 * PAGE)]
    names = b"\0".join(title for title, _ in contents) + b"\0.shstrtab\0"
    contents.append((b".shstrtab", names))
    headers, data, at, name_at = b"", b"", 64 + 64 * len(contents), 0
    for title, content in contents:
        kind = 0 if not title else 3 if content is names else 1
        headers += struct.pack("<IIQQQQIIQQ", name_at, kind, 0, 0, at + len(data), len(content), 0, 0, 8, 0)
        name_at += len(title) + 1
        data += content
    return (b"\x7fELF\2\1\1" + bytes(9) + struct.pack("<HHIQQQIHHHHHH", 4, 62, 1, 0, 0, 64, 0, 64, 56, 0, 64,
                                                        len(contents), len(contents) - 1) + headers + data)


SEEDS = {
    "stream-q35": stream(b"pc-q35-7.2"),
    "stream-virt": stream(b"virt-7.2", ((b"mach-virt.ram", 4 * PAGE),)),
    "stream-nodes": stream(b"pc-i440fx-7.2", ((b"ram-node1", 4 * PAGE), (b"ram-node0", 2 * PAGE), (b"pc.bios", PAGE))),
    "stream-cut": stream(b"pc-q35-7.2")[:3000],
    "stream-mapped": mapped(),
    "libvirt-raw": libvirt(stream(b"pc-q35-7.2")),
    "libvirt-part": libvirt(stream(b"pc-q35-7.2"), magic=b"LibvirtQemudPart"),
    "avml": avml(),
    "raw": b"raw!" + b"r" * 60,
    "lime": lime((0x1000, b"l" * 64), (0x100000000, b"L" * 64)),
    "avml-1": lime((0x1000, b"l" * 64)) + avml_header(0x2000, PAGE, 1) + lime((0x4000, b"L" * 64)),
    "virtualbox": virtualbox(),
    "xen-pfn": xen(),
    "xen-p2m": xen(b".xen_p2m"),
}

if __name__ == "__main__":
    folder = pathlib.Path(sys.argv[1]) / "open"
    for title, content in SEEDS.items():
        (folder / title).write_bytes(content)
