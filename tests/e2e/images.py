# SPDX-License-Identifier: MIT
"""Images made to measure. What is right in one of them is right by default; a test says what is to be wrong."""
import struct

ET_REL, ET_EXEC, ET_DYN, ET_CORE = 1, 2, 3, 4
EM_SPARC, EM_386, EM_ARM, EM_X86_64, EM_AARCH64 = 2, 3, 40, 62, 183
PT_LOAD, PT_INTERP = 1, 3

# xor eax, eax; out 0xf4, al; hlt: ends with status 0.
CODE = bytes.fromhex('31c0e6f4f4')
MULTIBOOT = struct.pack('<III', 0x1badb002, 0, 0x100000000 - 0x1badb002)
BASE = 0x100000


class Segment:
    def __init__(self, gpa=BASE, data=CODE, memory=None, offset=None, file_bytes=None, kind=PT_LOAD):
        self.gpa = gpa
        self.data = data
        self.memory = memory  # None: as in the file
        self.offset = offset  # None: where its data is
        self.file_bytes = file_bytes  # None: as long as its data
        self.kind = kind


def elf(segments=None, bits=64, machine=None, kind=ET_EXEC, entry=BASE, order='<', multiboot=None, **header):
    """An ELF file. `header` overrides table_entries, table_entry_bytes or table_offset."""
    segments = [Segment()] if segments is None else segments
    machine = machine if machine is not None else (EM_X86_64 if bits == 64 else EM_386)
    multiboot = bits == 32 if multiboot is None else multiboot
    header_bytes, entry_bytes = (64, 56) if bits == 64 else (52, 32)
    at = header_bytes + entry_bytes * len(segments)
    data = MULTIBOOT if multiboot else b''
    at += -at % 4
    table = b''
    for s in segments:
        offset = at + len(data) if s.offset is None else s.offset
        file_bytes = len(s.data) if s.file_bytes is None else s.file_bytes
        memory = file_bytes if s.memory is None else s.memory
        if bits == 64:
            table += struct.pack(order + 'IIQQQQQQ', s.kind, 7, offset, s.gpa, s.gpa, file_bytes, memory, 1)
        else:
            table += struct.pack(order + 'IIIIIIII', s.kind, offset, s.gpa, s.gpa, file_bytes, memory, 7, 1)
        data += s.data
    ident = b'\x7fELF' + bytes([2 if bits == 64 else 1, 1 if order == '<' else 2, 1]) + bytes(9)
    word = 'Q' if bits == 64 else 'I'
    top = ident + struct.pack(order + 'HHI' + 3 * word + 'IHHHHHH', kind, machine, 1, entry,
                              header.get('table_offset', header_bytes), 0, 0, header_bytes,
                              header.get('table_entry_bytes', entry_bytes),
                              header.get('table_entries', len(segments)), 0, 0, 0)
    return (top + table).ljust(at, b'\0') + data
