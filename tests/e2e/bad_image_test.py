# SPDX-License-Identifier: MIT
"""Images that cannot be run: each gives one line that names the file and the reason, and status 4."""
import os

from harness import REFUSED, guest, memvirt, need_kvm, run, temporary
from images import (BASE, EM_386, EM_AARCH64, EM_ARM, EM_SPARC, ET_CORE, ET_DYN, ET_REL, PT_INTERP, Segment, elf)
from tap import Skip, add, contains, equal, main, test

GIB = 1 << 30


def launch(name, content, *options):
    need_kvm()
    with temporary() as directory:
        path = os.path.join(directory, name)
        with open(path, 'wb') as file:
            file.write(content)
        return memvirt('run', *options, path)


def refused(name, content, *parts):
    result = launch(name, content)
    result.expect(REFUSED, name, *parts)
    equal(result.out, '')
    equal(len(result.err.splitlines()), 1, 'lines on stderr')


GOOD = {
    'elf64.elf': elf(),
    'elf32.elf': elf(bits=32),
    'flat.bin': bytes.fromhex('31c0e6f4f4'),
    'zeroes.elf': elf([Segment(memory=0x5000)]),
    'two.elf': elf([Segment(), Segment(BASE + 5)]),
}
BAD = {
    'empty.elf': (b'', 'empty'),
    'script.sh': (b'#!/bin/sh\nexit 0\n', 'not an image'),
    'text.txt': (b'hello\n' * 100, 'not an image'),
    'magic.elf': (b'\x7fELF', 'truncated'),
    'header.elf': (elf()[:40], 'truncated'),
    'table.elf': (elf()[:100], 'truncated'),
    'segment.elf': (elf()[:-1], 'truncated', 'segment 0'),
    'segment32.elf': (elf(bits=32)[:-1], 'truncated', 'segment 0'),
    'far-offset.elf': (elf([Segment(offset=1 << 63)]), 'truncated', 'segment 0'),
    'shared.elf': (elf(kind=ET_DYN), 'not executable', 'position-independent'),
    'object.o': (elf(kind=ET_REL), 'not executable', 'object file'),
    'core.elf': (elf(kind=ET_CORE), 'not executable', 'core dump'),
    'no-type.elf': (elf(kind=0), 'not executable'),
    'other-type.elf': (elf(kind=0xfe00), 'not executable'),
    'dynamic.elf': (elf([Segment(kind=PT_INTERP, data=b'/lib/ld.so\0'), Segment()]), 'not executable'),
    'aarch64.elf': (elf(machine=EM_AARCH64), 'wrong architecture', 'AArch64'),
    'arm.elf': (elf(bits=32, machine=EM_ARM), 'wrong architecture', 'ARM'),
    'sparc.elf': (elf(bits=32, machine=EM_SPARC, order='>'), 'wrong architecture', 'SPARC'),
    'i386-in-64.elf': (elf(machine=EM_386), 'wrong architecture'),
    'strange.elf': (elf(machine=0xbeef), 'wrong architecture'),
    'plain32.elf': (elf(bits=32, multiboot=False), 'multiboot'),
    'overlap.elf': (elf([Segment(), Segment(BASE + 4)]), 'segment 1', 'overlaps segment 0'),
    'overlap-zeroes.elf': (elf([Segment(memory=0x1001), Segment(BASE + 0x1000)]), 'overlaps'),
    'same.elf': (elf([Segment(), Segment()]), 'overlaps'),
    'beyond-ram.elf': (elf([Segment(), Segment(0x8000000)]), 'segment 1', 'outside RAM'),
    'across-end.elf': (elf([Segment(), Segment(0x7fffffe)]), 'segment 1', 'outside RAM', '0x8000000'),
    'device.elf': (elf([Segment(), Segment(0xd0000000)]), 'segment 1', 'outside RAM'),
    'above-4g.elf': (elf([Segment(), Segment(4 * GIB)]), 'segment 1', 'outside RAM'),
    'large-zeroes.elf': (elf([Segment(memory=1 << 40)]), 'outside RAM'),
    'wraps.elf': (elf([Segment(), Segment((1 << 64) - 2)]), 'segment 1'),
    'wraps32.elf': (elf([Segment(), Segment((1 << 32) - 2)], bits=32), 'segment 1'),
    'all-memory.elf': (elf([Segment(memory=(1 << 64) - 1)]), 'segment 0'),
    'file-over-memory.elf': (elf([Segment(memory=4)]), 'segment 0', 'in the file'),
    'no-segment.elf': (elf([]), 'segment'),
    'nothing-to-load.elf': (elf([Segment(memory=0, data=b'')]), 'segment'),
    'table-entry.elf': (elf(table_entry_bytes=55), 'program header'),
    'table-count.elf': (elf(table_entries=0xffff), 'segment'),
    'table-offset.elf': (elf(table_offset=(1 << 64) - 8), 'truncated'),
    'entry.elf': (elf(entry=BASE - 1), 'entry'),
    'big.bin': (bytes(577 << 10), 'too large'),
}

for image_name, good in sorted(GOOD.items()):
    add('good_%s_runs' % image_name, lambda n, c: equal(launch(n, c).expect(0).out, ''), image_name, good)
for image_name, (bad, *why) in sorted(BAD.items()):
    add('%s_is_refused' % image_name, refused, image_name, bad, *why)


@test
def missing_image():
    need_kvm()
    memvirt('run', '/nonexistent/image.elf').expect(REFUSED, '/nonexistent/image.elf', 'No such file or directory')


@test
def directory_and_device():
    need_kvm()
    with temporary() as directory:
        memvirt('run', directory).expect(REFUSED, 'a directory')
    memvirt('run', '/dev/null').expect(REFUSED, '/dev/null', 'a device')


@test
def a_pipe_without_a_writer_does_not_hang():
    need_kvm()
    with temporary() as directory:
        path = os.path.join(directory, 'pipe.elf')
        os.mkfifo(path)
        memvirt('run', path).expect(REFUSED, 'pipe.elf', 'a pipe')


@test
def oversized_file():
    """More than 4 GiB, of which the disk has nothing."""
    need_kvm()
    with temporary() as directory:
        path = os.path.join(directory, 'huge.elf')
        with open(path, 'wb') as file:
            file.write(elf())
            try:
                file.truncate(5 * GIB)
            except OSError as error:
                raise Skip('a file of 5 GiB cannot be made here: %s' % error)
        memvirt('run', path).expect(REFUSED, 'huge.elf', 'too large')


@test
def a_name_cannot_forge_a_line():
    need_kvm()
    result = memvirt('run', '/nonexistent/a\nmemvirt: all is well\x1b[2J').expect(REFUSED, 'No such file')
    equal('\x1b' in result.err, False)
    equal(len(result.err.splitlines()), 1)


@test
def every_cut_of_the_first_guest():
    """Wherever the file ends, it is refused, without a crash."""
    with open(guest('first'), 'rb') as file:
        whole = file.read()
    cuts = list(range(1, 400, 13)) + [len(whole) * i // 8 for i in range(1, 8)]
    for cut in cuts:
        result = launch('cut.elf', whole[:cut])
        if result.status not in (REFUSED, 0):  # 0: only what is not loaded was cut off
            raise AssertionError('cut at %d: %s' % (cut, result))
        if result.status == REFUSED:
            result.expect(REFUSED, 'cut.elf')


@test
def format_can_be_said():
    with temporary() as directory:
        path = os.path.join(directory, 'image')
        with open(path, 'wb') as file:
            file.write(GOOD['flat.bin'])
        need_kvm()
        memvirt('run', '--format', 'flat', path).expect(0)
        memvirt('run', '--format', 'elf', path).expect(REFUSED, 'not an image')
        memvirt('run', '--format', 'auto', path).expect(REFUSED, 'not an image')


@test
def too_little_ram_for_it():
    """-m 3 is a size, and first needs more."""
    result = run('first', '-m', '3').expect(REFUSED, 'first.elf', 'outside RAM', '0x300000')
    equal(result.out, '')


@test
def flat_takes_no_arguments():
    result = launch('flat.bin', GOOD['flat.bin'])
    result.expect(0)
    need_kvm()
    memvirt('run', guest('flat'), '--', 'one').expect(REFUSED, 'flat.bin', 'arguments')


@test
def no_report_without_a_run():
    result = launch('text.txt', b'text', '--stats', 'json')
    result.expect(REFUSED, 'not an image')
    equal(result.out, '')
    contains(result.err, 'text.txt')


if __name__ == '__main__':
    main()
