# SPDX-License-Identifier: MIT
"""`memvirt mtree`: what it prints of its own machine, and what it makes of dumps. Real dumps: peers/qemu_mtree_test.py."""
import os

from harness import HOST_ERROR, REFUSED, USAGE, memvirt, need_kvm, temporary
from tap import add, contains, equal, main, test

DUMP = '''address-space: memory
  0000000000000000-ffffffffffffffff (prio 0, i/o): system
    0000000000000000-0000000000ffffff (prio 0, ram): alias low @ram 0000000000000000-0000000000ffffff
    00000000000c0000-00000000000c3fff (prio 1, ram): alias pam-rom @ram 00000000000c0000-00000000000c3fff
    00000000fee00000-00000000feefffff (prio 4096, i/o): apic

memory-region: ram
  0000000000000000-0000000000ffffff (prio 0, ram): ram

'''
WRONG = [
    (['x'], "unexpected 'x'"),
    (['--walk'], "unknown option '--walk'", "'memvirt mtree --help'"),
    (['--machine', 'vax'], '--machine vax'),
    (['--bios', 'FILE'], '--bios FILE'),
    (['-m', '0'], '-m 0'),
    (['--at', 'here'], '--at here'),
    (['--space', 'memory'], '--at'),
    (['--import', 'FILE', '-m', '1G'], '--import'),
    (['--import', 'FILE', '--machine', 'minimal'], '--import'),
    (['--diff', 'FILE', '-f'], '--diff'),
    (['--diff', 'FILE', '--at', '0'], '--diff'),
    (['--at', '0', '-o'], '--at'),
    (['--accel', 'kvm'], '--accel kvm', '-f'),
    (['--accel', 'vax', '-f'], '--accel vax'),
    (['--accel', 'kvm', '-f', '--import', 'FILE'], '--accel kvm'),
]
for number, (arguments, *parts) in enumerate(WRONG):
    add('wrong_%d_%s' % (number, '_'.join(a.strip('-') for a in arguments)),
        lambda a, p: equal(memvirt('mtree', *a).expect(USAGE, *p).out, ''), arguments, parts)


def imported(text, *arguments):
    with temporary() as folder:
        path = os.path.join(folder, 'dump')
        with open(path, 'w') as file:
            file.write(text)
        return memvirt('mtree', '--import', path, *arguments)


@test
def the_minimal_machine():
    out = memvirt('mtree', '--machine', 'minimal', '-m', '4G').expect(0).out
    contains(out, 'address-space: memory\n  0000000000000000-ffffffffffffffff (prio 0, i/o): system\n')
    contains(out, '    0000000100000000-000000013fffffff (prio 0, ram): alias ram-above-4g @ram '
                  '00000000c0000000-00000000ffffffff\n')
    contains(out, 'address-space: I/O\n')
    contains(out, '\nmemory-region: ram\n  0000000000000000-00000000ffffffff (prio 0, ram): ram\n\n')
    equal(memvirt('mtree', '-m', '4096').expect(0).out, out)


@test
def the_pc():
    out = memvirt('mtree', '--machine', 'pc', '-m', '10G').expect(0).out
    contains(out, '    0000000100000000-00000002bfffffff (prio 0, ram): alias ram-above-4g @pc.ram '
                  '00000000c0000000-000000027fffffff\n')
    contains(out, '    00000000fee00000-00000000feefffff (prio 4096, i/o): apic-msi\n')
    contains(out, '\nmemory-region: pci\n  0000000000000000-ffffffffffffffff (prio -1, i/o): pci\n')
    equal(imported(out).expect(0).out, out)
    full = memvirt('mtree', '--machine', 'pc', '-m', '10G', '-o', '-D').expect(0).out
    contains(full, ' [disabled]')
    equal(imported(full).expect(0).out, full)
    equal(imported(full, '-f').expect(0).out,
          memvirt('mtree', '--machine', 'pc', '-m', '10G', '-f', '-o').expect(0).out)
    memvirt('mtree', '--machine', 'pc', '--bios', '/nonexistent').expect(REFUSED, '/nonexistent')


@test
def what_it_prints_can_be_imported():
    out = memvirt('mtree', '-m', '4G').expect(0).out
    equal(imported(out).expect(0).out, out)
    equal(imported(out, '-f').expect(0).out, memvirt('mtree', '-m', '4G', '-f').expect(0).out)
    equal(imported(out, '-f', '-d').expect(0).out, memvirt('mtree', '-m', '4G', '-f', '-d').expect(0).out)


@test
def the_map_is_labelled_as_it_is():
    contains(memvirt('mtree', '-f', '-d').expect(0).out, '    Nodes (6 bits per level, 11 levels) ptr=[0] skip=6\n')
    equal('Nodes' in memvirt('mtree', '-f').expect(0).out, False)


@test
def what_is_in_slots():
    need_kvm()
    for machine in 'minimal', 'pc':
        out = memvirt('mtree', '--machine', machine, '-f', '--accel', 'kvm').expect(0).out
        contains(out, '  0000000000100000-0000000007ffffff (prio 0, ram): pc.ram @0000000000100000 KVM\n'
                      if machine == 'pc' else '(prio 0, ram): ram KVM\n')
        equal([line for line in out.split('\n') if 'i/o)' in line and line.endswith(' KVM')], [])
        equal(out.replace(' KVM\n', '\n'), memvirt('mtree', '--machine', machine, '-f').expect(0).out)
        trees = memvirt('mtree', '--machine', machine).expect(0).out
        equal(imported(trees + out, '-f').expect(0).out, out)
        equal(imported(trees, '-f').expect(0).out, out.replace(' KVM\n', '\n'))


@test
def an_import_is_printed_back():
    equal(imported(DUMP).expect(0).out, DUMP)
    equal(memvirt('mtree', '--import', '/dev/stdin').status, REFUSED)


@test
def an_import_from_stdin():
    import subprocess
    from harness import MEMVIRT
    done = subprocess.run([MEMVIRT, 'mtree', '--import', '-'], input=DUMP.encode(), stdout=subprocess.PIPE, timeout=60)
    equal((done.returncode, done.stdout.decode()), (0, DUMP))


@test
def what_is_at_an_address():
    out = imported(DUMP, '--at', '0xc0010', '--space', 'memory').expect(0).out
    contains(out, '    is ram @00000000000c0010 (rom), through\n')
    contains(out, 'alias pam-rom @ram')
    contains(out, '    hides ram @00000000000c0010 (ram), through\n')
    imported(DUMP, '--at', '0', '--space', 'disk').expect(REFUSED, 'disk')


@test
def differences():
    with temporary() as folder:
        path = os.path.join(folder, 'other')
        with open(path, 'w') as file:
            file.write(DUMP.replace('(prio 1, ram): alias pam-rom', '(prio 1, ram): alias pam-ram'))
        result = imported(DUMP, '--diff', path)
        equal((result.status, result.err), (1, ''))
        contains(result.out, '-    00000000000c0000-00000000000c3fff (prio 1, ram): alias pam-rom @ram')
        contains(result.out, '+    00000000000c0000-00000000000c3fff (prio 1, ram): alias pam-ram @ram')
        contains(result.out, '-  00000000000c0000-00000000000c3fff (prio 0, rom): ram @00000000000c0000\n')
        equal(imported(DUMP, '--diff', os.path.join(folder, 'nothing')).expect(REFUSED, 'nothing').out, '')
    equal(imported(DUMP, '--diff', '/dev/null').expect(REFUSED, 'no address space').out, '')


@test
def a_bad_file_is_told_with_its_line():
    imported(DUMP + 'rubbish\n').expect(REFUSED, 'dump: line 10: ')
    memvirt('mtree', '--import', '/nonexistent').expect(REFUSED, '/nonexistent', 'No such file')
    memvirt('mtree', '--import', '/').expect(REFUSED, 'Is a directory')


@test
def a_guess_is_told():
    def alias(first, name):
        return '%016x-%016x (prio 0, ram): alias %s @x 0000000000000000-0000000000000fff\n' % (first, first + 0xfff, name)
    text = DUMP.split('\n\n')[0] + '\n\naddress-space: other\n' + \
        '  0000000000000000-000000000000ffff (prio 0, i/o): other\n' + \
        '    ' + alias(0, 'a') + '    ' + alias(0x1000, 'a') + \
        '    0000000000002000-0000000000002fff (prio 0, i/o): inner\n      ' + alias(0x2000, 'b') + \
        '\nmemory-region: ram\n  0000000000000000-0000000000ffffff (prio 0, ram): ram\n' + \
        2 * '\nmemory-region: x\n  0000000000000000-0000000000000fff (prio 0, ram): x\n' + '\n'
    result = imported(text)
    equal(result.status, 0)
    equal(result.out, text)
    equal(len(result.said()), 1)
    contains(result.said()[0], 'note: line 12: b: ')


@test
def a_lost_line_is_an_error():
    with open('/dev/full', 'w') as full:
        memvirt('mtree', stdout=full).expect(HOST_ERROR, 'standard output')


if __name__ == '__main__':
    main()
