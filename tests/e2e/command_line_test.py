# SPDX-License-Identifier: MIT
"""What the command line may be, and what it is told when wrong: one line, status 2, and nothing was opened."""
from harness import REFUSED, USAGE, guest, kvm_status, memvirt, need_kvm, report_of, run
from tap import add, contains, equal, main, test

# Arguments, and what the line has. IMAGE does not exist: it must not matter, as nothing is opened.
WRONG = [
    ([], 'no command', "'memvirt --help'"),
    (['walk'], "unknown command 'walk'"),
    (['--walk'], "unknown option '--walk'"),
    (['-x'], "unknown option '-x'"),
    (['help', 'walk'], "unknown command 'walk'"),
    (['help', 'run', 'check'], "'check'"),
    (['version', 'now'], "'now'"),
    (['--version', 'now'], "'now'"),
    (['check', 'kvm'], "unexpected 'kvm'", "'memvirt check --help'"),
    (['check', '--xml'], "unknown option '--xml'"),
    (['check', '-j'], "unknown option '-j'"),
    (['check', '--json=yes'], '--json=yes', 'no value'),
    (['run'], 'no image', "'memvirt run --help'"),
    (['run', '--'], 'no image'),
    (['run', '--walk', 'IMAGE'], "unknown option '--walk'", "'memvirt run --help'"),
    (['run', 'IMAGE', '--walk'], "unknown option '--walk'"),
    (['run', '-x', 'IMAGE'], "unknown option '-x'"),
    (['run', 'IMAGE', '-m'], "option '-m' needs a value"),
    (['run', 'IMAGE', '--accel'], "option '--accel' needs a value"),
    (['run', '--accel', 'tcg', 'IMAGE'], 'tcg', 'no accelerator of that name'),
    (['run', '--accel', '', 'IMAGE'], 'no accelerator of that name'),
    (['run', 'IMAGE', 'OTHER'], "unexpected 'OTHER'"),
    (['run', '--stats', 'xml', 'IMAGE'], '--stats xml'),
    (['run', '--format', 'a.out', 'IMAGE'], '--format a.out'),
    (['run', '--explain', '0x1000', 'IMAGE'], '--explain', '--stats'),
    (['run', '--machine', 'q35', 'IMAGE'], '--machine q35', 'minimal or pc'),
    (['run', '--machine', 'pc'], 'no image'),
    (['run', '--bios', 'FILE'], '--bios FILE', '--machine pc'),
    (['run', '--machine', 'pc', '--bios', 'FILE', 'IMAGE'], "unexpected 'IMAGE'", '--bios'),
    (['run', '--machine', 'pc', '--bios'], "option '--bios' needs a value"),
]
SIZES = ['0', '0G', '-1', '+1', '', ' 1', '1 ', '1X', '1MB', '1.5G', 'M', 'many', '0x10', '1e3',
         '99999999999999999999', '18446744073709551616K', '17592186044416', '17179869184G', '16777216T']
VCPUS = ['0', '-1', '255', '1000', '', 'two', '1.5', '99999999999999999999999']
ADDRESSES = ['', 'rip', '-1', '0x', '0xg', '12q', '0x10000000000000000', '99999999999999999999999']

for number, (arguments, *parts) in enumerate(WRONG):
    add('wrong_%d_%s' % (number, '_'.join(a.strip('-') for a in arguments)),
        lambda a, p: equal(memvirt(*a).expect(USAGE, *p).out, ''), arguments, parts)
for size in SIZES:
    add('size_%r' % size, lambda s: memvirt('run', '-m', s, 'IMAGE').expect(USAGE, '-m ' + s), size)
for vcpus in VCPUS:
    add('vcpus_%r' % vcpus,
        lambda v: memvirt('run', '--vcpus', v, 'IMAGE').expect(USAGE, '--vcpus', '1 to 254'), vcpus)
for address in ADDRESSES:
    add('address_%r' % address,
        lambda a: memvirt('run', '--stats', 'text', '--explain', a, 'IMAGE').expect(USAGE, '--explain', 'address'),
        address)


@test
def the_size_may_be_legal_and_the_machine_not():
    need_kvm()
    memvirt('run', '-m', '1K', 'IMAGE').expect(REFUSED, 'ram', '1024 bytes')
    memvirt('run', '-m', '65K', 'IMAGE').expect(REFUSED, 'ram', '4 KiB')


@test
def sizes_mean_what_qemu_means():
    for size, wanted in (('16', 16 << 20), ('16M', 16 << 20), ('16m', 16 << 20), ('16384K', 16 << 20),
                         ('1G', 1 << 30), ('2g', 2 << 30), ('128k', 128 << 10)):
        slots = report_of('flat' if wanted < 16 << 20 else 'hello', '-m', size)['slots']
        equal(slots[0]['size'] if slots[0]['gpa'] == 0 else None, wanted, size)


test_help_of = ['run', 'mtree', 'replay', 'explain', 'trace', 'check', 'help', 'version']
for command in test_help_of:
    def help_of(command):
        result = memvirt(command, '--help').expect(0)
        contains(result.out, 'usage: memvirt ' + command)
        equal(memvirt('help', command).expect(0).out, result.out)
        equal(memvirt(command, '-h').expect(0).out, result.out)
        equal(result.err, '')
        contains(memvirt('--help').out, '  %-10s' % command)
    add('help_of_' + command, help_of, command)


@test
def help_of_all():
    out = memvirt('--help').expect(0).out
    equal(memvirt('help').out, out)
    equal(memvirt('-h').out, out)


@test
def help_tells_every_status():
    out = memvirt('run', '--help').out
    for status in ('0-255', '2 ', '3 ', '4 ', '5 ', '6 ', '128+N'):
        contains(out, '\n  ' + status)


@test
def lines_fit_a_terminal():
    for command in ([], *[[c] for c in test_help_of]):
        for line in memvirt('help', *command).out.splitlines():
            if len(line) > 115:
                raise AssertionError(line)


@test
def version():
    out = memvirt('--version').expect(0).out
    contains(out, 'memvirt ')
    equal(memvirt('version').out, out)


@test
def check_says_kvm():
    usable, reason, text = kvm_status()
    equal(memvirt('check').status, 0 if usable else 3)
    contains(['ok', 'no-device', 'no-permission', 'missing-capability'], reason)
    equal(usable, reason == 'ok')
    contains(text, '/dev/kvm')
    result = memvirt('check', '--json')
    kvm, soft = result.report()['accelerators']
    equal(kvm, {'name': 'kvm', 'runs_guests': True, 'usable': usable, 'reason': reason, 'text': text})
    equal((soft['name'], soft['runs_guests'], soft['usable'], soft['reason']), ('soft', False, True, 'ok'))
    equal(result.status, 0 if usable else 3)


@test
def soft_runs_no_guest():
    memvirt('run', '--accel', 'soft', '/nonexistent').expect(3, 'soft', 'no-cpu')


@test
def options_may_follow_the_image():
    need_kvm()
    image = guest('smp')
    equal(memvirt('run', image, '--vcpus', '2').out, 'smp: 2 cpus\n')
    equal(memvirt('run', '--vcpus=3', '--', image).out, 'smp: 3 cpus\n')


@test
def the_last_of_two_counts():
    equal(run('smp', '--vcpus', '2', '--vcpus', '3').out, 'smp: 3 cpus\n')


@test
def arguments_reach_the_guest():
    """They are in the multiboot information, which the loader puts at 0x9000 if nothing else is there."""
    def read(gpa, length):
        asked = [word for at in range(gpa, gpa + length, 8) for word in ('--explain', hex(at))]
        report = memvirt('run', '--stats', 'json', *asked, image, '--', 'one', 'two  three', '--help').report()
        return b''.join(bytes.fromhex(c['page']['bytes']) for c in report['chains'] if c['why'] == 'asked')
    need_kvm()
    image = guest('hello')
    information = read(0x9000, 24)
    command_line = int.from_bytes(information[16:20], 'little')
    wanted = (image + ' one two  three --help\0').encode()
    equal(read(command_line, len(wanted))[:len(wanted)], wanted)


@test
def a_word_cannot_forge_a_line():
    for arguments in (['a\nmemvirt: b'], ['run', '--accel', 'a\x1b[2J\nb', 'IMAGE'], ['run', '--a\rb', 'IMAGE']):
        result = memvirt(*arguments).expect(USAGE, 'try')
        equal([c for c in result.err[:-1] if c < ' '], [])


if __name__ == '__main__':
    main()
