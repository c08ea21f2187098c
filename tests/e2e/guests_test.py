# SPDX-License-Identifier: MIT
"""Each guest prints what its expect.txt says, and ends as guests/README.md says."""
import os

from harness import GUEST_FAILED, SOURCE, guest, memvirt, need_kvm, run, temporary
from tap import Skip, add, contains, equal, main, test

# Guests that end by themselves: the options they need, and their status.
ENDING = {
    'edits': ([], 0),
    'first': ([], 0),
    'flat': ([], 0),
    'hello': ([], 42),
    'mmu32': ([], 0),
    'mmupae': ([], 0),
    'probe': ([], 0),
    'romwrite': ([], 0),
    'smp': (['--vcpus', '2'], 0),
    'unassigned': ([], 0),
}
# Guests that fail: what memvirt says of them.
FAILING = {
    'halt': ['vCPU 0', 'halted with interrupts off'],
    'mmiojump': ['vCPU 0', '0xd0000000', 'scratch'],
    'triple': ['vCPU 0', 'triple fault'],
}
ELSEWHERE = {'spin'}  # host_test.py: it has to be stopped
REFUSED_BY_PROCESSOR = 77


def expected(name):
    with open(os.path.join(SOURCE, 'guests', name, 'expect.txt'), encoding='utf-8') as file:
        return file.read()


def ends(name):
    options, status = ENDING[name]
    result = run(name, *options)
    if name.startswith('mmu') and result.status == REFUSED_BY_PROCESSOR:
        raise Skip(result.out)
    equal(result.status, status, str(result))
    equal(result.out, expected(name))
    if name != 'romwrite':
        equal(result.err, '')


def fails(name):
    result = run(name).expect(GUEST_FAILED, *FAILING[name])
    equal(result.out, expected(name))
    equal(len(result.err.splitlines()), 1, 'lines on stderr')


def reports_failure(name, reason):
    """Those who need the report most are those whose guest failed."""
    result = run(name, '--stats', 'json')
    result.expect(GUEST_FAILED, *FAILING[name])
    report = result.report()
    equal(report['stop']['reason'], reason)
    equal(report['console'], expected(name))
    contains(result.said()[0], report['stop']['text'])


for guest_name in sorted(ENDING):
    add('%s_ends' % guest_name, ends, guest_name)
for guest_name in sorted(FAILING):
    add('%s_fails' % guest_name, fails, guest_name)
add('halt_is_reported', reports_failure, 'halt', 'halted')
add('mmiojump_is_reported', reports_failure, 'mmiojump', 'internal-error')
add('triple_is_reported', reports_failure, 'triple', 'shutdown')


@test
def every_guest_is_tested():
    folders = os.listdir(os.path.join(SOURCE, 'guests'))
    names = {name for name in folders if os.path.exists(os.path.join(SOURCE, 'guests', name, 'expect.txt'))}
    equal(names - set(ENDING) - set(FAILING) - ELSEWHERE, set())


@test
def rom_write_is_noticed_once():
    result = run('romwrite').expect(0, 'boot.rom', '0xffff0000')
    equal(len(result.err.splitlines()), 1, 'lines on stderr')


@test
def all_254_processors_start():
    equal(run('smp', '--vcpus', '254').out, 'smp: 254 cpus\n')


@test
def the_same_twice():
    equal(run('first').out, run('first').out)


@test
def a_path_with_a_space():
    need_kvm()
    with temporary() as directory:
        path = os.path.join(directory, 'a guest.elf')
        os.symlink(os.path.abspath(guest('hello')), path)
        equal(memvirt('run', path).status, 42)


if __name__ == '__main__':
    main()
