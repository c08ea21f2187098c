# SPDX-License-Identifier: MIT
"""`memvirt replay` and `memvirt trace`: what they print, of real programs' traces too, and what they refuse."""
import csv
import io
import json
import os
import shutil
import struct
import subprocess

from harness import HOST_ERROR, MEMVIRT, REFUSED, USAGE, memvirt, temporary
from tap import Skip, add, contains, equal, main, test

WRONG = [
    (['replay'], 'no trace'),
    (['replay', 'gups', 'gups'], "unexpected 'gups'"),
    (['replay', '--mmu', 'vax', 'gups'], '--mmu vax'),
    (['replay', '--mmu', '', 'gups'], '--mmu'),
    (['replay', '--tlb', '64x4', 'gups'], '--tlb 64x4'),
    (['replay', '--host-page', '8K', 'gups'], '--host-page 8K'),
    (['replay', '--guest-page', '4M', 'gups'], '--guest-page 4M'),
    (['replay', '--levels', '3', 'gups'], '--levels 3'),
    (['replay', '--format', 'xml', 'gups'], '--format xml'),
    (['replay', '--memory', '1M', 'gups'], '--memory 1M'),
    (['trace'], 'nothing to do'),
    (['trace', 'melt'], "unknown verb 'melt'"),
    (['trace', 'convert', 'gups'], 'SOURCE and a FILE'),
]
for number, (arguments, *parts) in enumerate(WRONG):
    add('wrong_%d_%s' % (number, '_'.join(a.strip('-') for a in arguments)),
        lambda a, p: equal(memvirt(*a).expect(USAGE, *p).out, ''), arguments, parts)

HEADER = struct.Struct('<8sIIQQ32x')


def binary(records, says=None):
    count = len(records) if says is None else says
    return HEADER.pack(b'MVTRACE\n', 1, 64, count, count) + b''.join(struct.pack('<Q', r) for r in records)


BAD_FILES = [
    ('an ELF file', b'\x7fELF\0\0\0\0', 'neither'),
    ('malformed text', b' L 1000,8\n X 1000,8\n', 'line 2'),
    ('a cut line', b' L 1000,8\n L 10', 'cut off within line 2'),
    ('an enormous address', b' L 8000000000000000,8\n', 'line 1'),
    ('no size', b' L 1000,0\n', 'line 1'),
    ('a short header', b'MVTRACE\n\1', 'header'),
    ('another version', b'MVTRACE\n' + struct.pack('<II', 2, 64) + bytes(48), 'version 2'),
    ('fewer records than said', binary([0x1000], says=5), '5 records'),
    ('half a record', binary([0x1000]) + b'\0', 'cut off'),
    ('an unknown event', binary([7 << 61 | 9 << 57]), 'event'),
    ('a process that ends twice', binary([7 << 61 | 2 << 57 | 3]), 'process 3'),
    ('the running process ends', binary([7 << 61 | 2 << 57]), 'process 0'),
    ('a fork over itself', binary([7 << 61 | 1 << 57]), 'process 0'),
]
for name, content, part in BAD_FILES:
    def bad_file(content, part):
        with temporary() as folder:
            path = os.path.join(folder, 'trace')
            with open(path, 'wb') as file:
                file.write(content)
            equal(memvirt('replay', path).expect(REFUSED, 'trace', part).out, '')
    add('bad_' + name.replace(' ', '_'), bad_file, content, part)


def replayed(*arguments):
    return memvirt('replay', '--format', 'json', *arguments).expect(0).report()['schemes']


@test
def all_schemes_side_by_side():
    native, ept, npt, shadow, hybrid = all_of_them = replayed('cyclic')
    equal([s['mmu'] for s in all_of_them], ['native', 'ept', 'npt', 'shadow', 'hybrid'])
    for scheme in all_of_them:
        equal((scheme['accesses'], scheme['tlb']['misses'], scheme['guest_faults']), (12288, 12288, 4096))
    equal([s['walk']['mean'] for s in (native, ept, npt, shadow)], [4, 24, 24, 4])
    equal(native['exits']['total'], 0)
    equal(ept['exits']['ept_violation'] - ept['exits']['by_table_writes'], 4096)
    equal(npt['exits']['npf'], ept['exits']['ept_violation'])
    equal(ept['walk']['histogram'], {'24': 12288})
    exits = shadow['exits']
    equal(exits['page_fault'], 2 * 4096)
    equal(exits['total'], exits['page_fault'] + exits['table_write'] + exits['cr3_load'] + exits['invlpg'])
    equal(native['tables']['pages'], 0)
    equal(shadow['tables']['pages'], 11 + 1)  # one for each of the guest's, and the root of before paging was on
    exits = hybrid['exits']
    equal(exits['total'], sum(exits[why] for why in ('ept_violation', 'page_fault', 'table_write', 'timer')))
    equal(exits['total'] < exits['ept_violation'] + 300, True)
    equal(4 < hybrid['walk']['mean'] < 12, True)


@test
def hybrid_by_policies():
    for policy, refs in (('shadow', 4), ('nest-1', 8), ('nest-2', 12), ('nest-3', 16), ('nest-4', 20), ('nested', 20)):
        hybrid, shadow = replayed('--mmu', 'hybrid,shadow', '--policy', policy, 'cyclic')
        equal((hybrid['mmu'], shadow['mmu']), ('hybrid', 'shadow'))
        equal(hybrid['walk']['histogram'], {str(refs): 12288})
        equal(shadow['walk']['histogram'], {'4': 12288})
        equal((hybrid['exits']['invlpg'], hybrid['exits']['timer']), (0, 0))
    memvirt('replay', '--policy', 'nest-5', 'cyclic').expect(USAGE, '--policy nest-5')
    memvirt('replay', '--mmu', 'ept', '--policy', 'nested', 'cyclic').expect(USAGE, '--policy is of --mmu hybrid')
    memvirt('replay', '--mmu', 'native', '--host-page', '2M', 'cyclic').expect(USAGE, '--host-page', 'native has none')


@test
def switches_cost_shadow_exits():
    shadow, = replayed('--mmu', 'shadow', 'switch:size=1M,refs=100K')
    equal(shadow['exits']['cr3_load'], shadow['guest']['switches'])
    shadow, = replayed('--mmu', 'shadow', 'fork:size=1M')
    equal(shadow['exits']['invlpg'], shadow['guest']['cow_faults'] + shadow['guest']['spurious_faults'])


@test
def json_begins_as_documented():
    out = memvirt('replay', '--mmu', 'ept', '--format', 'json', 'cyclic').expect(0).out
    equal(''.join(out.split())[:36], '{"schemes":[{"mmu":"ept","accesses":')
    scheme = json.loads(out)['schemes'][0]  # in order; more may follow in each
    equal(list(scheme)[:7], ['mmu', 'accesses', 'tlb', 'walk', 'guest_faults', 'exits', 'tables'])
    for member, first in (('tlb', ['l1_misses', 'misses']), ('walk', ['refs', 'mean']),
                          ('exits', ['total', 'ept_violation']), ('tables', ['pages', 'bytes'])):
        equal(list(scheme[member])[:2], first)


@test
def csv_and_text_have_the_same_numbers():
    rows = list(csv.DictReader(io.StringIO(memvirt('replay', '--format', 'csv', 'fork:size=1M').expect(0).out)))
    schemes = replayed('fork:size=1M')
    text = memvirt('replay', 'fork:size=1M').expect(0).out
    for row, scheme in zip(rows, schemes):
        equal(int(row['accesses']), scheme['accesses'])
        equal(int(row['exits_total']), scheme['exits']['total'])
        equal(int(row['cow_faults']), scheme['guest']['cow_faults'])
    line, = [l for l in text.splitlines() if l.startswith('accesses ')]
    equal(line.split()[1:], [row['accesses'] for row in rows])


@test
def host_pages_and_levels_count():
    scheme, = replayed('--mmu', 'ept', '--host-page', '2M', 'gups:size=1G,refs=1K')
    equal(set(scheme['walk']['histogram']), {'19'})
    scheme, = replayed('--mmu', 'npt', '--levels', '5', 'gups:size=1G,refs=1K')
    equal(set(scheme['walk']['histogram']), {'35'})
    scheme, = replayed('--mmu', 'native', '--guest-page', '2M', 'gups:size=1G,refs=1K')
    equal(set(scheme['walk']['histogram']), {'3'})


@test
def walk_caches_shorten_walks():
    source = 'gups:size=64M,refs=100K'
    for cold, warm in zip(replayed(source), replayed('--walk-caches', source), strict=True):
        equal(warm['tlb']['misses'], cold['tlb']['misses'])
        if not warm['walk']['mean'] < cold['walk']['mean'] / 2:
            raise AssertionError('%s: %s, and %s without' % (warm['mmu'], warm['walk']['mean'], cold['walk']['mean']))


@test
def guest_memory_ends():
    memvirt('replay', '--memory', '1G', 'sequential:size=2G,stride=4K').expect(REFUSED, 'guest', '1024 MiB', '--memory')


@test
def costs_are_a_file():
    with temporary() as folder:
        path = os.path.join(folder, 'costs')
        with open(path, 'w') as file:
            file.write('# mine\nwalk_ref 1 counted\nexit 0 free\nexit_work 0 free\nguest_fault 0 free\n')
        scheme, = replayed('--mmu', 'ept', '--costs', path, 'cyclic')
        equal(scheme['cycles']['walks'], scheme['walk']['refs'])
        equal(scheme['cycles']['exits'], 0)
        with open(path, 'w') as file:
            file.write('walk_ref 1 ok\nwarp 9 unknown\n')
        memvirt('replay', '--costs', path, 'cyclic').expect(REFUSED, path, 'line 2')


# --- lackey ---------------------------------------------------------------------------------------------------------


def lackey(path, *program):
    if not shutil.which('valgrind'):
        raise Skip('there is no valgrind(1)')
    with open(path, 'wb') as trace:
        # valgrind writes to descriptor 9.
        command = ['sh', '-c', 'exec 9>"$0"; exec valgrind --tool=lackey --trace-mem=yes --log-fd=9 "$@" >/dev/null', path]
        subprocess.run(command + list(program), check=True, timeout=100, stderr=subprocess.DEVNULL)
        trace.seek(0, os.SEEK_END)


def lines_of(path):
    with open(path, 'rb') as file:
        return sum(1 for line in file if line[:2] in (b'I ', b' L', b' S', b' M'))


@test
def a_real_program():
    with temporary() as folder:
        text, mvt = os.path.join(folder, 'ls.txt'), os.path.join(folder, 'ls.mvt')
        lackey(text, 'ls', '/')
        memvirt('trace', 'convert', text, mvt).expect(0)
        from_text, from_binary = replayed(text), replayed(mvt)
        equal(from_text, from_binary)
        for scheme in from_text:
            equal(scheme['references'], lines_of(text))
            equal(scheme['guest']['bad_references'], 0)
            # With shadow tables the first write to a clean page is an exit, and the access that is tried again a miss.
            # A table that comes to be shadowed again, with hybrid, may flush the TLB.
            more = scheme['tlb']['misses'] - from_text[0]['tlb']['misses']
            most = {'shadow': scheme['exits']['page_fault'], 'hybrid': scheme['exits']['total']}
            equal(0 <= more <= most.get(scheme['mmu'], 0), True)
            equal(scheme['guest_faults'], from_text[0]['guest_faults'])
        # As a pipe.
        with open(text, 'rb') as file:
            out = subprocess.run([MEMVIRT, 'replay', '--format', 'csv', '-'], stdin=file, capture_output=True, timeout=60)
        equal(out.stdout.decode(), memvirt('replay', '--format', 'csv', text).expect(0).out)


# --- trace ----------------------------------------------------------------------------------------------------------


@test
def a_generator_is_converted():
    with temporary() as folder:
        path = os.path.join(folder, 'trace')
        memvirt('trace', 'convert', 'switch:refs=10K', path).expect(0)
        equal(replayed(path), replayed('switch:refs=10K'))
        equal(os.path.getsize(path) % 8, 0)


@test
def a_pipe_is_written():
    done = subprocess.run([MEMVIRT, 'trace', 'convert', 'cyclic', '-'], capture_output=True, timeout=60)
    equal(done.stdout[:8], b'MVTRACE\n')
    equal(len(done.stdout), 64 + 8 * 12288)
    done = subprocess.run([MEMVIRT, 'replay', '--format', 'csv', '-'], input=done.stdout, capture_output=True, timeout=60)
    equal(done.stdout.decode(), memvirt('replay', '--format', 'csv', 'cyclic').out)


@test
def what_cannot_be_written_is_said():
    memvirt('trace', 'convert', 'cyclic', '/nonexistent/x').expect(HOST_ERROR, '/nonexistent/x')
    memvirt('trace', 'convert', 'cyclic', '/dev/full').expect(HOST_ERROR, '/dev/full')
    memvirt('trace', 'convert', '/nonexistent', '/dev/null').expect(REFUSED, '/nonexistent')


if __name__ == '__main__':
    main()
