# SPDX-License-Identifier: MIT
"""What the report says, as JSON (docs/report-format.md) and as text."""
import re

from harness import memvirt, report_of, run
from tap import Skip, contains, equal, main, test

RAM_BYTES = 128 << 20
KVM_MEM_READONLY = 2


@test
def first_counts():
    """The issue's own figures for the first guest."""
    result = run('first', '--stats', 'json').expect(0)
    report = result.report()
    equal(report['exits']['mmio'], 3)
    equal(report['exits']['hlt'], 0)
    equal(report['stop']['reason'], 'exit')
    equal(report['stop']['status'], 0)
    equal(report['console'], result.err)
    equal(report['console_dropped_bytes'], 0)
    equal(report['access'], {'unassigned': 0, 'rom_write': 0, 'device_error': 0})
    equal(report['accel'], 'kvm')
    equal('memvirt ' + report['memvirt'] + '\n', memvirt('--version').out)


@test
def first_guest_page_faults():
    """KVM that shadows sees each of the 1000 lazily mapped pages fault; with EPT or NPT it sees none."""
    kvm = report_of('first')['kvm']
    if 'pf_guest' not in kvm:
        raise Skip('this kernel has no counter pf_guest')
    if kvm['pf_guest'] not in (0, 1000):
        raise AssertionError('pf_guest is %d' % kvm['pf_guest'])


@test
def exits_add_up():
    exits = report_of('unassigned')['exits']
    total = exits.pop('total')
    equal(sum(exits.values()), total)


@test
def slots_of_the_board():
    slots = report_of('first')['slots']
    equal([(s['gpa'], s['size'], s['flags'], s['flag_names']) for s in slots],
          [(0, RAM_BYTES, 0, []), (0xffff0000, 0x10000, KVM_MEM_READONLY, ['readonly'])])
    equal(len({s['id'] for s in slots}), len(slots), 'different ids')
    for slot in slots:
        equal(slot['hva'] % 4096, 0, 'alignment of an hva')


@test
def slots_above_4g():
    report = report_of('hello', '-m', '5G')
    gib = 1 << 30
    ram = [s for s in report['slots'] if not s['flags']]
    equal([(s['gpa'], s['size']) for s in ram], [(0, 3 * gib), (4 * gib, 2 * gib)])
    equal(ram[1]['hva'] - ram[0]['hva'], 3 * gib, 'both windows show one block')
    equal(report['views']['memory'][-1],
          {'first': '0x100000000', 'last': '0x17fffffff', 'type': 'ram', 'name': 'ram', 'offset': 3 * gib,
           'readonly': False})


@test
def slots_are_the_memory_view():
    """What the kernel was given is what the view shows as RAM and ROM."""
    report = report_of('hello', '-m', '4G')
    shown = [(int(s['first'], 16), int(s['last'], 16), s['readonly'])
             for s in report['views']['memory'] if s['type'] in ('ram', 'rom')]
    given = [(s['gpa'], s['gpa'] + s['size'] - 1, bool(s['flags'] & KVM_MEM_READONLY)) for s in report['slots']]
    equal(given, shown)


@test
def views_are_in_order():
    for view in report_of('hello')['views'].values():
        after = 0
        for section in view:
            first, last = int(section['first'], 16), int(section['last'], 16)
            if first < after or last < first:
                raise AssertionError('%r comes after %#x' % (section, after))
            after = last + 1


@test
def io_view_has_the_ports():
    names = {s['name']: s['first'] for s in report_of('hello')['views']['io']}
    for name, first in (('debugcon', '0xe9'), ('debug-exit', '0xf4'), ('serial', '0x3f8'), ('fw_cfg', '0x510')):
        equal(names.get(name), first, name)


@test
def unassigned_is_counted():
    if report_of('unassigned')['access']['unassigned'] < 1:
        raise AssertionError('no unassigned access was counted')


@test
def rom_write_is_counted():
    equal(report_of('romwrite')['access']['rom_write'], 1)


@test
def status_is_the_guests():
    report = report_of('hello')
    equal((report['stop']['reason'], report['stop']['status'], report['stop']['vcpu']), ('exit', 42, 0))


@test
def numbers_are_plain_and_addresses_are_hex():
    report = report_of('first', '--explain', '0xffffffffffffffff')
    asked = report['chains'][-1]
    equal((asked['why'], asked['gva']), ('asked', '0xffffffffffffffff'))
    for slot in report['slots']:
        for member in ('id', 'gpa', 'size', 'flags', 'hva'):
            equal(type(slot[member]), int, member)
    for section in report['views']['memory']:
        if not re.fullmatch('0x[0-9a-f]+', section['first']):
            raise AssertionError(section)


@test
def no_report_unless_asked():
    equal(run('first').out.splitlines()[-1], 'done')


@test
def text_report():
    out = run('first', '--stats', 'text', '--explain', '0x400040600000').expect(0).out
    console, _, report = out.partition('\n\n')
    equal(console.splitlines()[-1], 'done')
    for part in ('stop: exit, status 0',
                 'exits to memvirt, by reason:\n',
                 '0000000000000000-0000000007ffffff (ram): ram\n',
                 '00000000d0000000-00000000d0000fff (i/o): scratch\n',
                 '00000000ffff0000-00000000ffffffff (rom): boot.rom\n',
                 'slot 0 ',
                 'readonly',
                 '4-level paging',
                 'gva 0x400040600000, asked for:\n  PML4E[128] = 0x',
                 'P RW US A D NX',
                 'KVM_TRANSLATE agrees: gpa 0x'):
        contains(report, part)
    if not re.search(r'^  mmio +3$', report, re.M):
        raise AssertionError('three mmio exits are not in:\n' + report)
    # The bytes that the guest wrote: the address xor the guest's key, little-endian.
    contains(report, 'where the bytes are ' + (0x400040600000 ^ 0x6d656d766972745f).to_bytes(8, 'little').hex(' '))


@test
def text_report_with_paging_off():
    contains(run('hello', '--stats', 'text').out, 'vCPU 0 has paging off: a gva is its gpa')


@test
def text_report_of_a_failed_guest():
    result = run('triple', '--stats', 'text')
    contains(result.out, 'stop: shutdown')
    result.expect(5, 'triple fault')


if __name__ == '__main__':
    main()
