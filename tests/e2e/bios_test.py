# SPDX-License-Identifier: MIT
"""SeaBIOS on the pc board: real firmware turns ROM into RAM and RAM into ROM while it runs, and goes on to its end."""
import os

from harness import GUEST_FAILED, REFUSED, memvirt, need_kvm, temporary
from tap import Skip, add, contains, equal, main, test

SEABIOS = '/usr/share/seabios'
PATIENCE = 100  # seconds: a KVM without hardware virtualization emulates all of it


def firmware(name):
    path = os.path.join(SEABIOS, name)
    if not os.path.exists(path):
        raise Skip('%s is not there: it is in the Debian package seabios' % path)
    return path


def boot(*options, name='bios-256k.bin'):
    """Run it to its end: a HLT that waits for a timer's interrupt, and no interrupt comes here."""
    need_kvm()
    result = memvirt('run', '--accel', 'kvm', '--machine', 'pc', '--bios', firmware(name), '--stats', 'json',
                     *options, timeout=PATIENCE)
    return result.expect(GUEST_FAILED, 'vCPU 0', 'halted with interrupts on').report()


def reaches_its_end(name):
    console = boot(name=name)['console']
    contains(console.splitlines()[0], 'SeaBIOS (version')
    contains(console, 'QEMU fw_cfg DMA interface supported')
    contains(console, 'PCI: init bdf=00:01.3 id=8086:7113')
    contains(console, 'Found 1 serial ports')
    contains(console, 'PS2 keyboard initialized')
    equal(console.splitlines()[-1], 'No bootable device.')


for file_name in ('bios-256k.bin', 'bios.bin'):
    add('%s_reaches_its_end' % file_name, reaches_its_end, file_name)


@test
def pam_registers_turn_rom_into_ram_and_back():
    """It copies itself into RAM, which is writable until it is done; the view at the end is what PAM says then."""
    report = boot()
    if report['slot_calls']['commits'] < 3:
        raise AssertionError('no transaction after the first: %r' % report['slot_calls'])
    at = {int(section['first'], 16): section for section in report['views']['memory']}
    for first in (0xc0000, 0xf0000):
        equal((at[first]['name'], at[first]['offset'], at[first]['readonly']), ('pc.ram', first, True), hex(first))
    slots = {slot['gpa']: slot for slot in report['slots']}
    equal(slots[0xf0000]['flag_names'], ['readonly'])
    equal(slots[0xf0000]['hva'] - slots[0]['hva'], 0xf0000, 'the copy is in RAM')


@test
def it_does_nothing_that_goes_wrong():
    equal(boot()['access'], {'unassigned': 0, 'rom_write': 0, 'device_error': 0})


@test
def it_finds_all_ram_and_all_processors():
    console = boot('-m', '5G', '--vcpus', '3')['console']
    contains(console, 'Found 3 cpu(s)')
    contains(console, '0000000100000000 - 0000000180000000 = 1 RAM')


@test
def without_a_bios_the_reset_vector_halts():
    need_kvm()
    with temporary() as directory:
        path = os.path.join(directory, 'halts.bin')
        with open(path, 'wb') as file:
            file.write(b'\xf4' * 65536)
        result = memvirt('run', '--machine', 'pc', '--bios', path)
        result.expect(GUEST_FAILED, 'halted with interrupts off at rip 0xfff1')


@test
def a_file_that_is_no_bios_is_refused():
    need_kvm()
    with temporary() as directory:
        path = os.path.join(directory, 'odd.bin')
        with open(path, 'wb') as file:
            file.write(b'\xf4' * 65537)
        memvirt('run', '--machine', 'pc', '--bios', path).expect(REFUSED, 'odd.bin', 'multiple of 64 KiB')
        memvirt('run', '--machine', 'pc', '--bios', path + '.not').expect(REFUSED, 'No such file')


if __name__ == '__main__':
    main()
