# SPDX-License-Identifier: MIT
"""--mem-backend: what the guest's RAM is made of, what was asked of the host and what it granted."""
import os

from harness import REFUSED, USAGE, guest, memvirt, need_kvm, report_of, run, temporary
from tap import Skip, add, contains, equal, main, test

RAM_BYTES = 128 << 20
HUGE_2M = '/sys/kernel/mm/hugepages/hugepages-2048kB/'

# What is wrong, and what the line has. IMAGE does not exist, nor does the file: nothing is opened.
WRONG = [
    ('', 'must begin with anon, memfd, file:PATH or hugetlb'),
    ('ram', 'must begin with'),
    (',share=on', 'must begin with'),
    ('share=on', 'must begin with'),
    ('anon:', 'after a colon'),
    ('memfd:1G', 'after a colon'),
    ('file', 'file:PATH'),
    ('file:', 'file:PATH'),
    ('file:,share=on', 'file:PATH'),
    ('hugetlb:', 'power of two'),
    ('hugetlb:0', 'power of two'),
    ('hugetlb:3M', 'power of two'),
    ('hugetlb:2MB', 'power of two'),
    ('anon,', 'NAME=VALUE'),
    ('anon,share', 'share: an option is NAME=VALUE'),
    ('anon,=on', '=on: there is no such option'),
    ('anon,size=1G', 'size=1G: there is no such option'),
    ('anon,Share=on', 'no such option'),
    ('anon,share=', 'it is on or off'),
    ('anon,share=yes', 'share=yes: it is on or off'),
    ('anon,dump=on,merge=1', 'merge=1: it is on or off'),
    ('anon,thp=always', 'thp=always: it is on or off'),
    ('anon,prealloc=2', 'prealloc=2: it is on or off'),
    ('anon,reserve=ON', 'reserve=ON: it is on or off'),
    ('anon,prealloc=on,prealloc-threads=0', '1 to 1024'),
    ('anon,prealloc=on,prealloc-threads=-1', '1 to 1024'),
    ('anon,prealloc=on,prealloc-threads=1025', '1 to 1024'),
    ('anon,prealloc-threads=2', 'prealloc=on'),
    ('anon,prealloc=off,prealloc-threads=2', 'prealloc=on'),
    ('anon,host-nodes=64,policy=bind', '0 to 63'),
    ('anon,host-nodes=1-0,policy=bind', '0 to 63'),
    ('anon,host-nodes=0-,policy=bind', '0 to 63'),
    ('anon,host-nodes=-0,policy=bind', '0 to 63'),
    ('anon,host-nodes=0-1-2,policy=bind', '0 to 63'),
    ('anon,host-nodes=00000000000000000000,policy=bind', '0 to 63'),
    ('anon,host-nodes=,policy=bind', '0 to 63'),
    ('anon,host-nodes=0', 'needs a policy'),
    ('anon,policy=bind', 'needs host-nodes'),
    ('anon,host-nodes=0,policy=local', 'preferred, bind or interleave'),
]
for number, (text, part) in enumerate(WRONG):
    add('wrong_%d' % number,
        lambda t, p: equal(memvirt('run', '--mem-backend', t, 'IMAGE').expect(USAGE, '--mem-backend ' + t, p).out, ''),
        text, part)


def ram_of(backend, *options, name='hello'):
    """The member `ram` of the report of a guest that ran on this backend, to its usual end."""
    report = report_of(name, '--mem-backend', backend, *options)
    equal((report['stop']['reason'], report['stop']['status']), ('exit', 42))
    return report['ram']


def granted(asked, on):
    return {'asked': asked, 'granted': on, 'why': None}


@test
def nothing_is_asked():
    ram = report_of('hello')['ram']
    for name in ('share', 'prealloc', 'thp', 'merge', 'dump'):
        equal(ram[name]['asked'], 'default', name)
    equal((ram['kind'], ram['path'], ram['size'], ram['page_size']), ('anonymous', None, RAM_BYTES, 4096))
    equal((ram['share'], ram['prealloc'], ram['dump']),
          (granted('default', False), granted('default', False), granted('default', True)))
    equal(ram['numa']['asked'], {'policy': 'default', 'host_nodes': []})
    equal((ram['prealloc_bytes'], ram['prealloc_threads']), (0, 0))
    if not 0 < ram['usage']['resident'] < RAM_BYTES:
        raise AssertionError(ram['usage'])
    equal(ram_of('anon')['kind'], 'anonymous')


@test
def the_slot_is_of_the_ram():
    report = report_of('hello', '--mem-backend', 'memfd')
    equal(report['slots'][0]['hva'], report['ram']['hva'])


@test
def memfd():
    equal((ram_of('memfd')['kind'], ram_of('memfd')['share']), ('memfd', granted('default', True)))
    equal(ram_of('memfd,share=off')['share'], granted('off', False))


@test
def prealloc_makes_every_page():
    ram = ram_of('anon,prealloc=on,prealloc-threads=2', '-m', '64M')
    equal(ram['prealloc'], granted('on', True))
    equal((ram['prealloc_bytes'], ram['prealloc_threads'], ram['usage']['resident']), (64 << 20, 2, 64 << 20))


@test
def dump_and_merge():
    ram = ram_of('anon,dump=off,merge=on')
    equal(ram['dump'], granted('off', False))
    equal(ram['merge']['asked'], 'on')
    if not ram['merge']['granted'] and not ram['merge']['why']:
        raise AssertionError('merge was not granted, and the report does not say why')


@test
def thp():
    ram = ram_of('anon,thp=on')
    equal(ram['thp']['asked'], 'on')
    if not ram['thp']['granted'] and not ram['thp']['why']:
        raise AssertionError('thp was not granted, and the report does not say why')
    equal(ram_of('anon,thp=off')['thp']['granted'], False)
    equal(ram_of('anon,thp=off')['usage']['transparent_huge'], 0)


@test
def reserve():
    equal((ram_of('anon,reserve=on')['reserve']['asked'], ram_of('anon,reserve=on')['reserve']['granted']),
          ('on', True))
    equal(ram_of('anon,reserve=off')['reserve']['asked'], 'off')


@test
def a_node_of_the_host():
    ram = ram_of('anon,policy=bind,host-nodes=0')
    equal(ram['numa'], {'asked': {'policy': 'bind', 'host_nodes': [0]},
                        'granted': {'policy': 'bind', 'host_nodes': [0]}})


@test
def nodes_add_up():
    ram = ram_of('anon,policy=preferred,host-nodes=0,host-nodes=60-61')
    equal(ram['numa']['asked'], {'policy': 'preferred', 'host_nodes': [0, 60, 61]})
    if 0 not in ram['numa']['granted']['host_nodes']:
        raise AssertionError(ram['numa'])


@test
def a_node_that_no_host_has():
    if os.path.exists('/sys/devices/system/node/node63'):
        raise Skip('this host has 64 nodes')
    need_kvm()
    memvirt('run', '--mem-backend', 'anon,policy=bind,host-nodes=63', guest('hello')).expect(REFUSED, 'block ram')


@test
def a_file_has_the_guests_memory():
    """If it is shared. A comma in its name is doubled, as QEMU has it."""
    need_kvm()
    with temporary() as folder:
        path = os.path.join(folder, 'ram,1')
        ram = ram_of('file:%s,share=on' % path.replace(',', ',,'), '-m', '16M')
        equal((ram['kind'], ram['path'], ram['share']), ('file', path, granted('on', True)))
        equal(os.path.getsize(path), 16 << 20)
        with open(path, 'rb') as file:
            contains(file.read(), b'hello')
        os.remove(path)
        ram_of('file:' + path.replace(',', ',,'), '-m', '16M')
        with open(path, 'rb') as file:
            equal(file.read().strip(b'\0'), b'', 'a private file is not written to')


@test
def a_file_that_cannot_be():
    need_kvm()
    memvirt('run', '--mem-backend', 'file:/nonexistent/ram', guest('hello')).expect(REFUSED, '/nonexistent/ram')


@test
def huge_pages():
    try:
        with open(HUGE_2M + 'free_hugepages') as file:
            free = int(file.read())
    except FileNotFoundError:
        raise Skip('this host has no huge pages of 2 MiB')
    if free >= 1:
        ram = ram_of('hugetlb:2M', '-m', '2M')
        equal((ram['kind'], ram['page_size'], ram['reserve']['granted']), ('hugetlb', 2 << 20, True))
        equal(ram['usage']['hugetlb'], 2 << 20)
    need_kvm()
    line = memvirt('run', '--mem-backend', 'hugetlb:2M', '-m', '1T', guest('hello')).expect(REFUSED, 'huge pages').err
    contains(line, 'nr_hugepages')


@test
def huge_pages_of_no_size():
    need_kvm()
    memvirt('run', '--mem-backend', 'hugetlb:16K', guest('hello')).expect(REFUSED, 'block ram')


@test
def the_later_one_counts():
    equal(ram_of('file:/nonexistent/ram', '--mem-backend', 'memfd')['kind'], 'memfd')
    equal(ram_of('memfd,share=on,share=off')['share']['asked'], 'off')


@test
def for_people():
    out = run('hello', '-m', '64M', '--stats', 'text', '--mem-backend',
              'memfd,share=off,prealloc=on,dump=off,policy=bind,host-nodes=0').out
    for part in ('\nram: 64 MiB, memfd, pages of 4 KiB\n',
                 '\n  share     asked off, granted off\n',
                 '\n  prealloc  asked on, granted on\n',
                 '\n  dump      asked off, granted off\n',
                 '\n  65536 KiB preallocated by 1 thread\n',
                 '\n  policy    asked bind of nodes 0, granted bind of nodes 0\n',
                 '\n  resident at the end: 65536 KiB, '):
        contains(out, part)
    contains(run('hello', '--stats', 'text').out, '\nram: 128 MiB, anonymous, pages of 4 KiB\n  resident')


@test
def the_pc_board_too():
    need_kvm()
    with temporary() as folder:
        bios = os.path.join(folder, 'bios')
        with open(bios, 'wb') as file:  # out 0xf4, al with al 7, at the reset vector
            file.write(b'\xf4' * 0xfff0 + b'\xb0\x07\xe6\xf4' + b'\xf4' * 12)
        report = memvirt('run', '--machine', 'pc', '--bios', bios, '--mem-backend', 'memfd', '-m', '16M',
                         '--stats', 'json').report()
    equal((report['stop']['reason'], report['ram']['kind']), ('exit', 'memfd'))


if __name__ == '__main__':
    main()
