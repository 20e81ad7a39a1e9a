"""What an ELF object file needs from outside."""

from __future__ import annotations

import struct


def machine(code: bytes) -> int:
    """The processor: 62 is x86-64, 183 AArch64."""
    assert code[:5] == b"\x7fELF\x02", "not a 64-bit ELF file"
    return int(struct.unpack_from("<H", code, 18)[0])


def undefined(code: bytes) -> set[str]:
    """The names of the symbols that the object uses and does not define."""
    start, size, count = struct.unpack_from("<Q", code, 40)[0], *struct.unpack_from("<HH", code, 58)
    sections = [struct.unpack_from("<IIQQQQIIQQ", code, start + i * size) for i in range(count)]
    found = set()
    for _, kind, _, _, offset, length, link, _, _, entry in sections:
        if kind != 2:  # SHT_SYMTAB
            continue
        names = sections[link][4]
        for at in range(offset + entry, offset + length, entry):
            name, _, _, section = struct.unpack_from("<IBBH", code, at)
            if section == 0:
                end = code.index(b"\0", names + name)
                found.add(code[names + name : end].decode())
    return found
