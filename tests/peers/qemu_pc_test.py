# SPDX-License-Identifier: MIT
"""The pc board against the real QEMU's `-M pc`: the same ports are written in both, and the flat views are compared.

QEMU is asked over its monitor (`info mtree -f`, and `o` to write a port); it runs nothing. PC_VIEW is our half.
"""
import os
import re
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'e2e'))

import tap  # noqa: E402

QEMU = 'qemu-system-x86_64'
TIMEOUT = 60
# What QEMU's board has and ours does not: in the I/O space, bare ports take their place.
NOT_OURS = {'acpi-cpu-hotplug', 'acpi-pci-hotplug', 'fdc', 'ide', 'kvmvapic', 'pm-smbus', 'vmport'}
VGA_PORTS = {'vga', 'vbe'}
LINE = re.compile(r'  ([0-9a-f]{16})-([0-9a-f]{16}) \((?:prio -?\d+, )?([a-z/]+)\): (\S+)(?: @([0-9a-f]{16}))?( .*)?$')


def views(text):
    """{name of the space: [(first, last, type, region, offset)]}"""
    found, names = {}, []
    for line in text.replace('\r', '').splitlines():
        space = re.match(r' AS "([^"]+)", root: ', line)
        if space:
            names = names + [space.group(1)] if names and not found.get(names[0]) else [space.group(1)]
            found[space.group(1)] = []
        match = LINE.match(line)
        if match:
            first, last, kind, region, offset = match.groups()[:5]
            for name in names:
                found[name].append((int(first, 16), int(last, 16), kind, region, int(offset or '0', 16)))
    return found


def without(sections, missing):
    """The I/O view as it would be without those regions: what is left of `io` in one piece."""
    result = []
    for first, last, kind, region, offset in sections:
        if region in missing:
            region, offset = 'io', first
        before = result[-1] if result else None
        if before and region == before[3] == 'io' and before[1] + 1 == first:
            result[-1] = (before[0], last, kind, region, before[4])
        else:
            result.append((first, last, kind, region, offset))
    return result


def ask_qemu(ram_mib, bios, vga, writes):
    if not shutil.which(QEMU):
        raise tap.Skip('%s is not installed (Debian: qemu-system-x86)' % QEMU)
    command = [QEMU, '-M', 'pc', '-m', str(ram_mib), '-nodefaults', '-accel', 'tcg', '-S', '-display', 'none',
               '-monitor', 'stdio', '-vga', 'std' if vga else 'none', '-serial', 'null', '-chardev', 'null,id=debug',
               '-device', 'isa-debugcon,iobase=0x402,chardev=debug', '-device', 'isa-debug-exit,iobase=0xf4,iosize=4']
    command += ['-bios', bios] if bios else []
    sizes = {1: 'b', 2: 'h', 4: 'w'}
    lines = ['o/%s 0x%x 0x%x' % (sizes[size], port, value) for port, size, value in writes]
    done = subprocess.run(command, input='\n'.join(lines + ['info mtree -f', 'quit', '']), capture_output=True,
                          text=True, timeout=TIMEOUT)
    found = views(done.stdout)
    if not found.get('memory'):
        raise AssertionError('no view of memory from %s: %s' % (QEMU, done.stdout + done.stderr))
    return found


def ask_us(ram_mib, bios, vga, writes):
    command = [os.environ['PC_VIEW'], str(ram_mib), bios or '-', 'vga' if vga else 'none']
    command += ['%x:%d:%x' % write for write in writes]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT)
    tap.equal(done.returncode, 0, done.stderr)
    return views(done.stdout)


def same(ram_mib=128, bios=None, vga=False, writes=()):
    theirs = ask_qemu(ram_mib, bios, vga, writes)
    ours = ask_us(ram_mib, bios, vga, writes)
    for space in ('memory', 'cpu-smm-0'):
        tap.equal(ours[space], theirs[space], '%s, %r' % (space, writes))
    tap.equal(without(ours['I/O'], set()), without(theirs['I/O'], NOT_OURS | (VGA_PORTS if vga else set())),
              'I/O, %r' % (writes,))


def config(devfn, offset, size, value):
    """Two port writes: one to a configuration register of the bus 0."""
    return [(0xcf8, 4, 0x80000000 | devfn << 8 | (offset & 0xfc)), (0xcfc + offset % 4, size, value)]


for mib in (1, 16, 128, 2048, 3072, 3500, 3583, 3584, 4096, 10240):
    tap.add('ram_of_%d_mib' % mib, same, mib)
tap.add('with_a_display_adapter', same, 128, None, True)


@tap.test
def another_bios():
    path = '/usr/share/seabios/bios.bin'
    if not os.path.exists(path):
        raise tap.Skip('%s is not there (Debian: seabios)' % path)
    same(bios=path)


def pam(value):
    writes = []
    for register in range(0x59, 0x60):
        writes += config(0, register, 1, value)
    same(writes=writes)


for nibble in range(4):
    tap.add('pam_all_%d' % nibble, pam, 0x11 * nibble)


def pam_one(register, value):
    same(writes=config(0, register, 1, value))


for register in range(0x59, 0x60):
    for value in (0x10, 0x02, 0x31, 0xcc):
        tap.add('pam_%02x_%02x' % (register, value), pam_one, register, value)


@tap.test
def pam_in_one_write():
    same(writes=config(0, 0x58, 4, 0x31321300) + config(0, 0x5c, 4, 0x03201233) + config(0, 0x5e, 2, 0x1122))


def smram(value):
    same(vga=True, writes=config(0, 0x72, 1, value))


for value in (0x02, 0x0a, 0x42, 0x4a, 0x1a, 0x7a):
    tap.add('smram_%02x' % value, smram, value)


@tap.test
def power_management_is_mapped():
    same(writes=config(0x0b, 0x40, 4, 0x601) + config(0x0b, 0x80, 1, 1))
    same(writes=config(0x0b, 0x80, 1, 1))


tap.main()
