# SPDX-License-Identifier: MIT
"""`memvirt explain`: where addresses of replayed guests lead, and what it refuses."""
import os
import pty
import socket
import struct
import subprocess
import threading

from harness import MEMVIRT, REFUSED, USAGE, memvirt, temporary
from tap import Skip, add, contains, equal, main, test

G = ['--replay', 'gups:size=8M,refs=100']
WRONG = [
    (['explain'], '--replay'),
    (['explain', '0x1000'], '--replay'),
    (['explain', *G, '--qmp', 'unix:/x', '0x1000'], 'both'),
    (['explain', '--qmp', 'unix:/x', '--mmu', 'ept', '0x1000'], '--qmp'),
    (['explain', '--qmp', 'unix:/x', '--memory', '1G', '0x1000'], '--qmp'),
    (['explain', '--qmp', 'unix:/x'], 'no address'),
    (['explain', *G], 'no address'),
    (['explain', *G, 'rip'], "'rip' is no address"),
    (['explain', *G, '0x1000', '0x10000000000000000'], 'no address'),
    (['explain', *G, '--access', 'jump', '0'], '--access jump'),
    (['explain', *G, '--mmu', 'all', '0'], '--mmu all'),
    (['explain', *G, '--refs', '-1', '0'], '--refs -1'),
    (['explain', *G, '--process', 'first', '0'], '--process first'),
    (['explain', *G, '--guest-page', '8K', '0'], '--guest-page 8K', "'memvirt explain --help'"),
    (['explain', *G, '--host-page', '8K', '0'], '--host-page 8K'),
    (['explain', *G, '--mmu', 'native', '--host-page', '2M', '0'], '--host-page', 'native has none'),
    (['explain', *G, '--levels', '3', '0'], '--levels 3'),
    (['explain', *G, '--memory', '1M', '0'], '--memory 1M'),
    (['explain', *G, '--format', 'csv', '0'], '--format csv'),
]
for number, (arguments, *parts) in enumerate(WRONG):
    add('wrong_%d' % number, lambda a, p: equal(memvirt(*a).expect(USAGE, *p).out, ''), arguments, parts)

BASE = 0x100000000


def explained(source, *arguments):
    report = memvirt('explain', '--format', 'json', '--replay', source, *arguments).expect(0).report()
    equal(report['source'], source)
    return report


def one(source, *arguments):
    chain, = explained(source, *arguments)['chains']
    return chain


def trace(folder, records):
    """A file of memvirt's format. Kinds: 0 read, 1 write, 4 the rest of a read."""
    path = os.path.join(folder, 'trace')
    with open(path, 'wb') as file:
        file.write(struct.pack('<8sIIQQ32x', b'MVTRACE\n', 1, 64, len(records), len(records)))
        for kind, address in records:
            file.write(struct.pack('<Q', kind << 61 | 3 << 57 | address))
    return path


@test
def every_entry_leads_to_the_next():
    report = explained('sequential:size=1M,stride=4K', hex(BASE + 0x5678))
    equal((report['mmu'], report['references'], report['format']), ('ept', 256, 'sequential'))
    equal([(s['id'], s['gpa'], s['size'], s['flag_names']) for s in report['slots']], [(0, 0, 16 << 30, [])])
    chain, = report['chains']
    table = int(chain['cr3'], 16)
    for entry, level in zip(chain['entries'], (4, 3, 2, 1)):
        index = BASE + 0x5678 >> 12 + 9 * (level - 1) & 511
        equal((entry['level'], entry['index'], int(entry['gpa'], 16)), (level, index, table + 8 * index))
        table = int(entry['value'], 16) & 0xffffffffff000
    equal((chain['end'], chain['page']['gpa']), ('complete', hex(table + 0x678)))
    equal((chain['verdict']['rule'], chain['verdict']['who']), ('none', 'user'))


@test
def every_nested_entry_leads_to_the_next():
    """Tables of the hypervisor are in the process's own memory; the last entry has the page's host address."""
    for mmu, address in (('ept', 0x7fffffffff000), ('npt', 0x7fffffffff000)):
        chain = one('sequential:size=1M,stride=4K', '--mmu', mmu, hex(BASE + 0x5678))
        for place in [*chain['entries'], chain['page']]:
            nested, gpa = place['nested'], int(place['gpa'], 16)
            equal((nested['format'], nested['end'], nested['exit'], nested['answer']), (mmu, 'mapped', None, 'none'))
            table = int(nested['entries'][0]['hva'], 16) & ~0xfff
            for entry, level in zip(nested['entries'], (4, 3, 2, 1)):
                index = gpa >> 12 + 9 * (level - 1) & 511
                equal((entry['index'], int(entry['hva'], 16)), (index, table + 8 * index))
                table = int(entry['value'], 16) & address
            equal(hex(table + gpa % 4096), place['hva'])
            equal(nested['size'], 4096)
        contains(chain['page']['nested']['need'], 'R')
        equal(chain['entries'][0]['nested']['need'], ['R', 'W'] if mmu == 'ept' else ['W'])


@test
def every_shadow_entry_leads_to_the_next():
    """In place of the guest's tables: each stands for one of them, and the last has the page's host address."""
    chain = one('sequential:size=1M,stride=4K', '--mmu', 'shadow', hex(BASE + 0x5678))
    shadow = chain['shadow']
    equal((shadow['end'], shadow['exit'], shadow['code'], shadow['answer']), ('mapped', None, None, 'none'))
    table = int(shadow['entries'][0]['hva'], 16) & ~0xfff
    for entry, guest, level in zip(shadow['entries'], chain['entries'], (4, 3, 2, 1)):
        equal((entry['level'], entry['index'], entry['name']), (level, guest['index'], guest['name']))
        equal(int(entry['hva'], 16), table + 8 * entry['index'])
        equal(int(entry['table'], 16), int(guest['gpa'], 16) & ~0xfff)
        equal((entry['rights'], entry['role']), (['W', 'U', 'X'], ['efer.nxe', 'cr0.wp']))
        table = int(entry['value'], 16) & 0x7fffffffff000
    equal(hex(table + 0x678), chain['page']['hva'])
    equal((shadow['hva'], shadow['size'], shadow['rights']), (chain['page']['hva'], 4096, ['W', 'U', 'X']))
    equal((shadow['is_table'], shadow['write_protected']), (False, False))
    equal([place['nested'] for place in [*chain['entries'], chain['page']]], [None] * 5)


@test
def exits_of_shadow_tables():
    """A write to a clean page is fixed; one to what a fork shares, and what is not mapped, is the guest's own fault."""
    with temporary() as folder:
        chain = one(trace(folder, [(0, BASE)]), '--mmu', 'shadow', '--access', 'write', hex(BASE))
    equal((chain['shadow']['exit'], chain['shadow']['code'], chain['shadow']['end'], chain['shadow']['answer']),
          ('page_fault', '0x7', 'denied', 'fix'))
    equal(chain['shadow']['rights'], ['U', 'X'])
    equal(chain['verdict']['rule'], 'none')
    shared = one('fork:size=1M,processes=1', '--refs', '300', '--mmu', 'shadow', '--access', 'write', hex(BASE))
    equal((shared['shadow']['answer'], shared['shadow']['code'], shared['verdict']['rule']),
          ('reflect', '0x7', 'write-protected'))
    equal(shared['shadow']['entries'][3]['open'], True)
    nothing = one('sequential:size=1M,stride=4K', '--mmu', 'shadow', hex(BASE + (1 << 40)))
    equal((nothing['shadow']['answer'], nothing['shadow']['end'], len(nothing['shadow']['entries'])),
          ('reflect', 'not-present', 1))
    equal(one('sequential:size=1M', '--mmu', 'shadow', '0x8000000000000000')['shadow']['exit'], None)
    equal(one('sequential:size=1M', '--mmu', 'ept', hex(BASE))['shadow'], None)


@test
def hybrid_changes_over():
    """Shadow tables above, the guest's own page table below them: it is nested, since fork writes to it."""
    command = ('--replay', 'fork:size=1M,processes=1', '--refs', '300', '--mmu', 'hybrid', '--access', 'write', hex(BASE))
    chain = one(*command[1:])
    shadow = chain['shadow']
    equal((shadow['end'], shadow['guest_level'], shadow['exit'], shadow['answer']), ('switched', 1, None, 'none'))
    equal([entry['level'] for entry in shadow['entries']], [4, 3, 2])
    equal(shadow['entries'][2]['flags'][-1], 'SWITCH')
    equal(int(shadow['entries'][2]['value'], 16) & 0x7fffffffff000, int(chain['entries'][3]['hva'], 16) & ~0xfff)
    equal([entry['nested'] for entry in chain['entries']], [None] * 4)
    equal((chain['page']['nested']['format'], chain['page']['nested']['exit']), ('ept', 'ept_violation'))
    equal((chain['verdict']['rule'], chain['verdict']['vector']), ('write-protected', 14))
    out = memvirt('explain', *command).expect(0).out
    contains(out, " SWITCH\n      in place of the guest's table at gpa 0x")
    contains(out, "\n    the guest's own tables from level 1 on, through EPT: the first by its host address\n")


@test
def shadow_in_text():
    with temporary() as folder:
        path = trace(folder, [(0, BASE)])
        out = memvirt('explain', '--mmu', 'shadow', '--replay', path, '--access', 'write', hex(BASE)).expect(0).out
        read = memvirt('explain', '--mmu', 'shadow', '--replay', path, hex(BASE)).expect(0).out
    for part in ('\n  shadow tables:\n    PML4E[0] = 0x', "      in place of the guest's table at gpa 0x",
                 ', whose rights are W U X; role: efer.nxe cr0.wp\n', ', page of 4K; rights: U X\n',
                 '    #PF of the shadow tables, error code 0x7: the entries do not allow it; the hypervisor makes the '
                 "entry from the guest's, and the access is tried again\n  verdict: "):
        contains(out, part)
    contains(read, '\n    the hardware lets it through\n')


@test
def native_has_no_second_dimension():
    chain = one('sequential:size=1M', '--mmu', 'native', hex(BASE + 0x1234))
    equal([place['nested'] for place in [*chain['entries'], chain['page']]], [None] * 5)
    equal(chain['page']['slot'], 0)
    equal(chain['page']['way'], [{'region': 'guest', 'kind': 'ram', 'offset': chain['page']['gpa']}])


@test
def sizes_and_levels():
    chain = one('gups:size=4M,refs=10', '--levels', '5', '--guest-page', '2M', '--host-page', '1G', hex(BASE))
    equal([e['name'] for e in chain['entries']], ['PML5E', 'PML4E', 'PDPTE', 'PDE'])
    equal((chain['paging'], chain['page']['size'], chain['page']['nested']['size']), ('5-level', 1 << 21, 1 << 30))
    equal([e['name'] for e in chain['page']['nested']['entries']], ['PML5E', 'PML4E', 'PDPTE'])
    contains(chain['page']['nested']['entries'][-1]['flags'], 'PS')


@test
def only_so_many_references():
    with temporary() as folder:
        path = trace(folder, [(0, BASE), (0, BASE + 0x1ffc), (4, BASE + 0x2000), (1, BASE + 0x5000)])
        addresses = [hex(BASE), hex(BASE + 0x1000), hex(BASE + 0x2000), hex(BASE + 0x5000)]
        for refs, present in ((0, 0), (1, 1), (2, 3), (3, 4), (9, 4)):
            report = explained(path, '--refs', str(refs), *addresses)
            rules = [chain['verdict']['rule'] for chain in report['chains']]
            equal(rules, ['none'] * present + ['not-present'] * (4 - present))
            equal(report['references'], min(refs, 3))


@test
def a_page_that_a_fork_shares():
    source = 'fork:size=1M,processes=1'
    for process in ('0', '1'):
        chain = one(source, '--refs', '256', '--process', process, '--access', 'write', hex(BASE))
        verdict = chain['verdict']
        equal((verdict['rule'], verdict['vector'], verdict['error_code'], verdict['level']),
              ('write-protected', 14, 7, 1))
        equal(verdict['text'], "a user's write to a read-only page: PTE[0] has R/W=0")
        equal(chain['page']['rights'], ['U', 'X'])
        equal(one(source, '--refs', '256', '--process', process, hex(BASE))['verdict']['rule'], 'none')
    first, second = [one(source, '--refs', '256', '--process', p, hex(BASE)) for p in '01']
    equal(first['page']['gpa'], second['page']['gpa'])
    if first['cr3'] == second['cr3']:
        raise AssertionError('two processes have one root')
    memvirt('explain', '--replay', source, '--process', '7', '0').expect(REFUSED, 'no process 7')


@test
def who_accesses():
    source = 'sequential:size=1M'
    for option, who in (('--user', 'user'), ('--supervisor', 'supervisor'), ('--implicit', 'implicit')):
        equal(one(source, option, hex(BASE))['verdict']['who'], who)
    verdict = one(source, '--access', 'fetch', '--user', hex(BASE + (1 << 40)))['verdict']
    equal((verdict['rule'], verdict['error_code'], verdict['level'], verdict['access']),
          ('not-present', 0x14, 4, 'fetch'))
    verdict = one(source, '0x8000000000000000')['verdict']
    equal((verdict['rule'], verdict['vector'], verdict['error_code']), ('non-canonical', 13, None))


@test
def violations_before_anybody_was_there():
    """Nothing was replayed: the guest has its root, and the hypervisor has mapped that page only."""
    chain = one('sequential:size=1M', '--refs', '0', '0')
    equal([e['name'] for e in chain['entries']], ['PML4E'])
    equal((chain['verdict']['rule'], chain['page']), ('not-present', None))
    equal(chain['entries'][0]['nested']['end'], 'mapped')


@test
def text_for_people():
    out = memvirt('explain', *G, '--access', 'write', hex(BASE + 0x488510), '0x800000000000').expect(0).out
    lines = out.splitlines()
    equal(lines[:3], ['gups:size=8M,refs=100, after 100 references, under ept', '',
                      'gva 0x100488510, a write by a user'])
    for part in ('  PTE[136] = 0x', '      slot 0: 0x0-0x3ffffffff\n', '      region: guest+0x',
                 '      ept: RW needed, RWX allowed, page of 4K\n', "  verdict: a user's write is allowed\n",
                 '\n\ngva 0x800000000000, a write by a user\n', '  the guest takes #GP'):
        contains(out, part)


@test
def no_monitor_there():
    for address, why in (('unix:/nonexistent/qmp', 'No such file'), ('tcp:127.0.0.1:1', 'refused'),
                         ('tcp:8.8.8.8:1', 'unix:PATH or tcp:127.0.0.1:PORT'), ('stdio', 'unix:PATH'),
                         ('unix:' + 'x' * 200, 'too long')):
        equal(memvirt('explain', '--qmp', address, '0').expect(REFUSED, address, why).out, '')


def asked(answer):
    """What explain makes of somebody who says all this at once."""
    with temporary() as folder, socket.socket(socket.AF_UNIX) as listener:
        path = os.path.join(folder, 'socket')
        listener.bind(path)
        listener.listen(1)
        def serve():
            connection, _ = listener.accept()
            with connection:
                connection.sendall(answer)
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(4096):
                    pass
        thread = threading.Thread(target=serve)
        thread.start()
        result = memvirt('explain', '--qmp', 'unix:' + path, '0')
        thread.join()
        return result


@test
def what_is_no_monitor_is_told():
    """It hangs up, or says what no monitor says."""
    for answer in (b'', b'\n', b'HTTP/1.0 400\n', b'[]\n', b'{}\n', b'{"QMP": 1', b'{"QMP": 1}\n',
                   b'{"QMP": 1}\n{"return": 1}\n', b'{"QMP": 1}\n{"return": 1}\n[]\n'):
        equal(asked(answer).expect(REFUSED, 'QMP').out, '')
    asked(b'{"QMP": 1}\n{"error": {"desc": "never"}}\n').expect(REFUSED, 'never')


@test
def events_are_passed_over():
    result = asked(b'{"QMP": 1}\n{"event": "STOP"}\n{"return": {}}\n{"event": "RESUME"}\n'
                   b'{"return": {"human-readable-text": "so it is\\n"}}\n')
    equal(result.expect(0).out, 'so it is\n')


@test
def a_trace_that_does_not_fit_is_named():
    memvirt('explain', '--memory', '1G', '--replay', 'sequential:size=2G,stride=4K', '0').expect(
        REFUSED, 'sequential:size=2G,stride=4K', 'memory')


@test
def a_progress_bar_on_a_terminal_only():
    try:
        terminal, side = pty.openpty()
    except OSError as error:
        raise Skip('no terminal can be made: %s' % error)
    with subprocess.Popen([MEMVIRT, 'explain', '--replay', 'gups:size=64M,refs=3M', hex(BASE)],
                          stdout=subprocess.PIPE, stderr=side) as process:
        os.close(side)
        out = process.stdout.read()
        equal(process.wait(), 0)
    shown = os.read(terminal, 65536)
    os.close(terminal)
    contains(shown, b'] ')
    equal(b'\r[' in out, False)
    equal(memvirt('explain', '--replay', 'gups:size=64M,refs=1M', hex(BASE)).expect(0).err, '')


@test
def bad_traces():
    memvirt('explain', '--replay', '/nonexistent', '0').expect(REFUSED, '/nonexistent')
    memvirt('explain', '--replay', 'gups:size=0', '0').expect(REFUSED, 'size')


main()
