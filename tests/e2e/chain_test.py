# SPDX-License-Identifier: MIT
"""
The chain GVA -> GPA -> HVA -> HPA is right in each step: the entries are those in guest memory and lead to each
other and to the page, KVM_TRANSLATE agrees, the bytes are what the guest wrote, and the frame is the kernel's.

guests/first/README.md says which pages the guest touches and what it writes there.
"""
import fcntl
import json
import os
import struct
import subprocess
import time

from harness import MEMVIRT, guest, need_json, need_kvm, report_of, run, started
from tap import Skip, contains, equal, main, test

FIRST_GVA = 0x400040600000
PAGES = 1000
KEY = 0x6d656d766972745f
ADDRESS_MASK = 0x000ffffffffff000
P, PS = 1, 1 << 7
SHIFTS = {5: 48, 4: 39, 3: 30, 2: 21, 1: 12}
SCRATCH_GPA = 0xd0000000


def number(text):
    return None if text is None else int(text, 16)


def lazy(index):
    return FIRST_GVA + index * 4096


def explain(*gvas):
    """The chains of these addresses in the first guest, and the whole report."""
    options = [word for gva in gvas for word in ('--explain', hex(gva))]
    report = report_of('first', *options)
    chains = [c for c in report['chains'] if c['why'] == 'asked']
    equal([number(c['gva']) for c in chains], list(gvas))
    return chains, report


def check_place(place, slots):
    """hva and hpa fit the gpa."""
    gpa, hva, hpa = number(place['gpa']), number(place['hva']), number(place['hpa'])
    slot = next((s for s in slots if s['gpa'] <= gpa < s['gpa'] + s['size']), None)
    if slot is None:
        equal((hva, hpa, place['hpa_reason']), (None, None, 'not-ram'))
        return
    equal(hva, slot['hva'] + gpa - slot['gpa'], 'hva of gpa %#x' % gpa)
    if hpa is None:
        if place['hpa_reason'] not in ('not-present', 'no-permission', 'no-pagemap'):
            raise AssertionError('no hpa, and the reason is %r' % place['hpa_reason'])
    else:
        equal(hpa % 4096, gpa % 4096, 'offset in the page')
        equal(place['hpa_reason'], None)


def check_chain(chain, slots):
    """4-level paging, step by step (Intel SDM, "4-Level Paging and 5-Level Paging")."""
    equal(chain['paging'], '4-level')
    gva = number(chain['gva'])
    table = number(chain['cr3']) & ADDRESS_MASK
    for depth, entry in enumerate(chain['entries']):
        equal(entry['level'], 4 - depth)
        equal(entry['index'], gva >> SHIFTS[entry['level']] & 511)
        equal(number(entry['gpa']), table + 8 * entry['index'], 'where the %s is' % entry['name'])
        check_place(entry, slots)
        value = number(entry['value'])
        equal('P' in entry['flags'], bool(value & P))
        table = value & ADDRESS_MASK
    last = chain['entries'][-1]
    if chain['end'] in ('complete', 'not-ram'):
        page_bytes = 1 << SHIFTS[last['level']]
        equal(chain['page']['size'], page_bytes)
        equal(number(chain['page']['gpa']), (table & -page_bytes) + gva % page_bytes)
        check_place(chain['page'], slots)
        equal(chain['translate'],
              {'valid': True, 'gpa': chain['page']['gpa'], 'agrees': True})
    else:
        equal(chain['page'], None)


@test
def lazily_mapped_pages():
    gvas = [lazy(i) for i in (0, 1, 2, 500, 511, 512, 998, 999)]
    chains, report = explain(*gvas)
    for gva, chain in zip(gvas, chains):
        check_chain(chain, report['slots'])
        equal(chain['end'], 'complete')
        equal(chain['page']['bytes'], (gva ^ KEY).to_bytes(8, 'little').hex())
        equal(chain['entries'][-1]['flags'], ['P', 'RW', 'US', 'A', 'D', 'NX'])
        equal(chain['page']['region'], 'ram')
        equal(chain['entries'][0]['rights'], ['W', 'U', 'X'])
        equal(chain['page']['rights'], ['W', 'U'])
        equal([(step['region'], step['kind']) for step in chain['page']['way']],
              [('system', 'container'), ('ram-below-4g', 'alias'), ('ram', 'ram')])
        equal((chain['page']['slot'], chain['page']['nested'], chain['page']['readonly']), (0, None, False))
        equal((chain['verdict']['rule'], chain['verdict']['access'], chain['verdict']['vector']),
              ('none', 'read', None))
    equal([e['index'] for e in chains[0]['entries']], [128, 1, 3, 0])
    equal([e['index'] for e in chains[5]['entries']], [128, 1, 4, 0])
    gpas = [number(c['page']['gpa']) for c in chains]
    equal(len(set(gpas)), len(gpas), 'each page is somewhere else')
    for gva, gpa in zip(gvas, gpas):
        if gpa == gva or gpa >= 8 << 20:
            raise AssertionError('gva %#x is at gpa %#x' % (gva, gpa))


@test
def pages_shown_unasked():
    report = report_of('first')
    rip, touched = report['chains'][0], report['chains'][1:]
    equal(rip['why'], 'rip')
    equal(len(touched), 3)
    for chain in report['chains']:
        check_chain(chain, report['slots'])
    for chain in touched:
        gva = number(chain['gva'])
        equal(chain['why'], 'touched')
        contains(range(FIRST_GVA, FIRST_GVA + PAGES * 4096, 4096), gva)
        equal(chain['page']['bytes'], (gva ^ KEY).to_bytes(8, 'little').hex())


@test
def entries_are_those_in_guest_memory():
    """The first GiB is identity-mapped: so each entry can be looked at as data, at the gva that is its gpa."""
    first, _ = explain(lazy(0), lazy(999))
    entries = [e for chain in first for e in chain['entries']]
    chains, _ = explain(lazy(0), lazy(999), *[number(e['gpa']) for e in entries])
    again = [e for chain in chains[:2] for e in chain['entries']]
    equal([e['gpa'] for e in again], [e['gpa'] for e in entries])
    for entry, seen in zip(again, chains[2:]):
        equal(seen['page']['bytes'], number(entry['value']).to_bytes(8, 'little').hex())
        equal(seen['page']['hva'], entry['hva'])


@test
def page_after_the_last_is_not_mapped():
    (chain,), report = explain(lazy(PAGES))
    check_chain(chain, report['slots'])
    equal(chain['end'], 'not-present')
    equal(chain['entries'][-1]['flags'], [])
    equal(chain['translate'], {'valid': False, 'gpa': None, 'agrees': True})


@test
def a_device_has_no_host_memory():
    (chain,), report = explain(SCRATCH_GPA + 8)
    check_chain(chain, report['slots'])
    equal(chain['end'], 'not-ram')
    equal((chain['page']['region'], chain['page']['offset'], chain['page']['type']), ('scratch', 8, 'i/o'))
    equal((chain['page']['hva'], chain['page']['bytes']), (None, None))
    for flag in ('PWT', 'PCD'):
        contains(chain['entries'][-1]['flags'], flag)


@test
def a_large_page():
    (chain,), report = explain(0x2345678)
    check_chain(chain, report['slots'])
    equal([e['name'] for e in chain['entries']], ['PML4E', 'PDPTE', 'PDE'])
    equal((chain['page']['size'], chain['page']['gpa']), (2 << 20, '0x2345678'))
    contains(chain['entries'][-1]['flags'], 'PS')


@test
def a_non_canonical_address():
    (chain,), _ = explain(0x0000800000000000)
    equal((chain['end'], chain['page'], chain['entries']), ('non-canonical', None, []))


@test
def bytes_end_with_the_host_page():
    (chain,), _ = explain(lazy(3) + 4093)
    equal(chain['page']['bytes'], '000000')


@test
def paging_off():
    report = report_of('unassigned', '--explain', '0xffff0000', '--explain', '0xc0000000')
    rom, nothing = report['chains'][-2:]
    equal((rom['paging'], rom['entries'], rom['page']['gpa']), ('off', [], '0xffff0000'))
    equal((rom['page']['region'], rom['page']['type'], rom['page']['bytes']), ('boot.rom', 'rom', 'f4' * 8))
    equal((nothing['end'], nothing['page']['region'], nothing['page']['hva']), ('not-ram', None, None))


@test
def hpa_needs_a_capability():
    """Without CAP_SYS_ADMIN the report says so, and the text in a sentence."""
    need_kvm()
    wrapper = []
    if os.geteuid() == 0:
        wrapper = ['setpriv', '--bounding-set', '-sys_admin', '--inh-caps', '-sys_admin']
        try:
            subprocess.run(wrapper + ['true'], check=True, capture_output=True)
        except (FileNotFoundError, subprocess.CalledProcessError):
            raise Skip('setpriv cannot take a capability away here')
    chains = run('first', '--stats', 'json', wrapper=wrapper).report()['chains']
    equal({(c['page']['hpa'], c['page']['hpa_reason']) for c in chains}, {(None, 'no-permission')})
    text = run('first', '--stats', 'text', wrapper=wrapper).out
    contains(text, 'hpa not readable: /proc/self/pagemap shows frame numbers only with CAP_SYS_ADMIN')


# --- The process itself is asked, while it prints. --------------------------------------------------------------


def read_chains(stream, count):
    """The first chains of a report of which more is to come."""
    text = ''
    decoder = json.JSONDecoder()
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        text += os.read(stream.fileno(), 1024).decode()
        at = text.find('"chains": [')
        chains = []
        if at < 0:
            continue
        at += len('"chains": [')
        try:
            while len(chains) < count:
                while text[at] in ' \n,':
                    at += 1
                chain, at = decoder.raw_decode(text, at)
                chains.append(chain)
            return chains
        except (ValueError, IndexError):
            pass
    raise AssertionError('there are no %d chains in: %s' % (count, text))


def frame_address(pagemap, hva):
    """The host physical address by another reading of /proc/PID/pagemap."""
    entry, = struct.unpack('Q', os.pread(pagemap, 8, hva // 4096 * 8))
    return (entry & (1 << 55) - 1) * 4096 + hva % 4096 if entry >> 63 else None


def wrong_places(chains, process):
    """The places at which the living process has something else."""
    wrong = []
    memory = os.open('/proc/%d/mem' % process.pid, os.O_RDONLY)
    pagemap = os.open('/proc/%d/pagemap' % process.pid, os.O_RDONLY)
    try:
        for chain in chains:
            places = [(e, number(e['value']).to_bytes(8, 'little')) for e in chain['entries']]
            places.append((chain['page'], bytes.fromhex(chain['page']['bytes'])))
            for place, content in places:
                hva, hpa = number(place['hva']), number(place['hpa'])
                found = os.pread(memory, len(content), hva)
                if found != content:
                    wrong.append('%s: its hva holds %s' % (place, found.hex()))
                if hpa is not None and hpa != frame_address(pagemap, hva):
                    wrong.append('%s: pagemap says %r' % (place, frame_address(pagemap, hva)))
    finally:
        os.close(pagemap)
        os.close(memory)
    return wrong


def compare_with_process():
    """
    The report does not fit into the small pipe, so memvirt, with the guest's memory, stays while we look: into its
    memory and its page map.
    """
    options = [word for i in range(100) for word in ('--explain', hex(lazy(7 * i)))]
    with started('run', '--stats', 'json', *options, guest('first'), stdout=subprocess.PIPE,
                 stderr=subprocess.DEVNULL, bufsize=0) as process:
        fcntl.fcntl(process.stdout, 1031, 4096)  # F_SETPIPE_SZ
        chains = read_chains(process.stdout, 40)
        equal(process.poll(), None, 'it is still printing')
        wrong = wrong_places(chains, process)
        while os.read(process.stdout.fileno(), 65536):
            pass
        equal(process.wait(30), 0)
    return wrong


@test
def the_process_has_it_there():
    need_kvm()
    need_json()
    for _ in range(3):  # the host may move a page between its reading and ours
        try:
            wrong = compare_with_process()
        except PermissionError as error:
            raise Skip('the memory of %s cannot be read: %s' % (os.path.basename(MEMVIRT), error))
        if not wrong:
            return
    raise AssertionError('\n'.join(wrong[:5]))


if __name__ == '__main__':
    main()
