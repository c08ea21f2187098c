# SPDX-License-Identifier: MIT
"""Monitors of a running guest: lines over a pipe, a terminal and sockets; QMP; clients that misbehave."""
import json
import os
import pty
import re
import select
import shutil
import signal
import socket
import subprocess
import threading
import time
from contextlib import contextmanager

from harness import (GUEST_FAILED, MEMVIRT, REFUSED, USAGE, guest, memvirt, need_json, need_kvm, started, temporary)
from tap import Skip, add, contains, equal, main, test

PROMPT = b'(memvirt) '
PATIENCE = 20
HELLO_STATUS = 42


# --- clients ----------------------------------------------------------------------------------------------------


def connect(path, patience=PATIENCE):
    """A connection to a socket that may not be there yet."""
    end = time.monotonic() + patience
    while True:
        connection = socket.socket(socket.AF_UNIX if isinstance(path, str) else socket.AF_INET)
        connection.settimeout(patience)
        try:
            connection.connect(path)
            return connection
        except OSError:
            connection.close()
            if time.monotonic() > end:
                raise
            time.sleep(0.01)


class Hmp:
    def __init__(self, path):
        self.socket = connect(path)
        self.greeting = self.until_prompt()

    def until_prompt(self):
        got = b''
        while not got.endswith(PROMPT):
            more = self.socket.recv(65536)
            if not more:
                raise AssertionError('hung up after %r' % got)
            got += more
        return got[:-len(PROMPT)].decode(errors='replace')

    def __call__(self, line):
        self.socket.sendall(line.encode('latin1') + b'\n')
        return self.until_prompt()

    def close(self):
        self.socket.close()


class Qmp:
    def __init__(self, path, negotiate=True):
        need_json()
        self.socket = connect(path)
        self.file = self.socket.makefile('rb')
        self.events = []
        self.greeting = self.receive()
        if negotiate:
            equal(self('qmp_capabilities'), {})

    def receive(self):
        line = self.file.readline()
        return json.loads(line) if line else None

    def send(self, message):
        self.socket.sendall(message if isinstance(message, bytes) else json.dumps(message).encode() + b'\n')

    def answer(self):
        """The next response; events on the way to it are kept."""
        while True:
            message = self.receive()
            if message is None or 'event' not in message:
                return message
            self.events.append(message)

    def ask(self, message):
        self.send(message)
        return self.answer()

    def __call__(self, execute, **arguments):
        message = {'execute': execute}
        if arguments:
            message['arguments'] = {key.replace('_', '-'): value for key, value in arguments.items()}
        answer = self.ask(message)
        if 'return' not in answer:
            raise AssertionError('%s: %s' % (execute, answer))
        return answer['return']

    def refuses(self, message, kind, *parts):
        answer = self.ask(message)
        equal(answer.get('error', {}).get('class'), kind, str(answer))
        for part in parts:
            contains(answer['error']['desc'], part)
        return answer

    def wait_event(self, name):
        while True:
            for event in self.events:
                if event['event'] == name:
                    self.events.remove(event)
                    return event
            message = self.receive()
            if message is None:
                raise AssertionError('no event %s' % name)
            if 'event' in message:
                self.events.append(message)

    def close(self):
        self.file.close()
        self.socket.close()


@contextmanager
def monitored(name='spin', *options, hmp=True, qmp=True, **how):
    """A guest with an HMP and a QMP socket; yields the process and the two paths."""
    need_kvm()
    if qmp:
        need_json()
    with temporary() as directory:
        hmp_path, qmp_path = directory + '/hmp', directory + '/qmp'
        addresses = (['--monitor', 'unix:' + hmp_path] if hmp else []) + (['--qmp', 'unix:' + qmp_path] if qmp else [])
        how.setdefault('stdout', subprocess.DEVNULL)
        how.setdefault('stderr', subprocess.DEVNULL)
        with started('run', *addresses, *options, guest(name), **how) as process:
            yield process, hmp_path, qmp_path


def until(condition, what):
    end = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > end:
            raise AssertionError('waited in vain until ' + what)
        time.sleep(0.01)


def spinning(hmp):
    """Wait until the guest is in ring 3, with paging on."""
    until(lambda: ' CPL=' in hmp('info registers') or re.search('CS =00[0-9a-f]3', hmp('info registers')),
          'the guest is in ring 3')


# --- HMP --------------------------------------------------------------------------------------------------------


@test
def texts_are_qemus():
    with monitored(qmp=False) as (process, path, _):
        hmp = Hmp(path)
        contains(hmp.greeting, " monitor - type 'help' for more information\r\n")
        spinning(hmp)
        equal(hmp('info status'), 'VM status: running\r\n')
        equal(hmp('foo'), "unknown command: 'foo'\r\n")
        equal(hmp('info foo'), "unknown command: 'info foo'\r\n")
        equal(hmp('help foo'), "unknown command: 'foo'\r\n")
        equal(hmp(''), '')
        equal(hmp('   '), '')
        equal(hmp('xp'), 'unexpected end of expression\r\nTry "help xp" for more information\r\n')
        equal(hmp('xp /2zw 0'), 'invalid char in format: \'z\'\r\nTry "help xp" for more information\r\n')
        equal(hmp('xp /2xw 0 0'),
              'xp: extraneous characters at the end of line\r\nTry "help xp" for more information\r\n')
        equal(hmp('xp /2xw zz'),
              'invalid char \'z\' in expression\r\nTry "help xp" for more information\r\n')
        equal(hmp('xp $foo'), 'unknown register\r\nTry "help xp" for more information\r\n')
        equal(hmp('xp 1/0'), 'division by zero\r\nTry "help xp" for more information\r\n')
        equal(hmp('stop now'),
              'stop|s: extraneous characters at the end of line\r\nTry "help stop" for more information\r\n')
        equal(hmp('info mtree -z'), 'mtree: unsupported option -z\r\nTry "help info mtree" for more information\r\n')
        equal(hmp('gpa2hva 0xd0000000'), 'Memory at address 0xd0000000 is not RAM\r\n')
        equal(hmp('gpa2hva 0xd0000000000'), 'No memory is mapped at address 0xd0000000000\r\n')
        equal(hmp('gva2gpa 0x7fff00000000'), 'Unmapped\r\n')
        equal(hmp('xp /4xw 0xd0000000000'), '00000d0000000000: Cannot access memory\r\n')
        equal(hmp('xp /4xw 0xfffffffffffffff8'), 'fffffffffffffff8: Cannot access memory\r\n')
        contains(hmp('xp /65537xb 0'), 'at most 65536 bytes')
        contains(hmp('xp /9999999999999999999999xb 0'), 'at most 65536 bytes')
        contains(hmp('gpa2hva 0x1000'), 'Host virtual address for 0x1000 (ram) is 0x')
        contains(hmp('info ramblock'), '              Block Name    PSize              Offset               Used  '
                                       '            Total\r\n')
        contains(hmp('help x'), 'x /fmt addr')
        contains(hmp('?'), 'gva2gpa addr')
        hmp.close()


@test
def memory_is_shown_as_qemu_shows_it():
    """The boot ROM is full of HLT, 0xf4; the scratch device has a constant. Layouts as QEMU 7.2 prints them."""
    with monitored(qmp=False) as (process, path, _):
        hmp = Hmp(path)
        for command, wanted in (
                ('xp /4xw 0xffff0000', '00000000ffff0000: 0xf4f4f4f4 0xf4f4f4f4 0xf4f4f4f4 0xf4f4f4f4\r\n'),
                ('xp /10xb 0xfffffff0', '00000000fffffff0: 0xf4 0xf4 0xf4 0xf4 0xf4 0xf4 0xf4 0xf4\r\n'
                                        '00000000fffffff8: 0xf4 0xf4\r\n'),
                ('xp /3xg 0xffff0000', '00000000ffff0000: 0xf4f4f4f4f4f4f4f4 0xf4f4f4f4f4f4f4f4\r\n'
                                       '00000000ffff0010: 0xf4f4f4f4f4f4f4f4\r\n'),
                ('xp/2ow 0xffff0000', '00000000ffff0000: 036475172364 036475172364\r\n'),
                ('xp /2uh 0xffff0000', '00000000ffff0000: 62708 62708\r\n'),
                ('xp /3db 0xffff0000', '00000000ffff0000: 244 244 244\r\n'),
                ('xp /1dg 0xffff0000', '00000000ffff0000:  -795741901218843404\r\n'),
                ('xp /2c 0xffff0000', "00000000ffff0000: '\\xf4' '\\xf4'\r\n"),
                ('xp /0xw 0', ''),
                ('xp /1xw 0xd0000008', '00000000d0000008: 0x6d656d76\r\n'),
                ('xp /4c 0xd0000008', "00000000d0000008: 'v' 'm' 'e' 'm'\r\n"),
                ('xp 0xd0000000 + 2 * (1 + 3)', "00000000d0000008: 'v'\r\n"),
                ('xp /xw 0xd0000008', '00000000d0000008: 0x6d656d76\r\n')):
            equal(hmp(command), wanted, command)


@test
def trees_and_flat_views():
    with monitored() as (process, path, qmp_path):
        hmp, qmp = Hmp(path), Qmp(qmp_path)
        contains(hmp('info mtree'), 'address-space: memory\r\n  0000000000000000-')
        contains(hmp('info mtree -f'), ' Root memory region: system\r\n')
        contains(hmp('info mtree -f'), '00000000ffff0000-00000000ffffffff (prio 0, rom): boot.rom KVM\r\n')
        contains(hmp('info mtree -f'), '00000000d0000000-00000000d0000fff (prio 0, i/o): scratch\r\n')
        contains(hmp('info mtree -f -d'), 'Dispatch')
        equal(hmp('info mtree -fdoD').replace('\r', ''),
              qmp('x-query-mtree', flat=True, dispatch=True, owner=True, disabled=True)['human-readable-text'])


@test
def virtual_and_physical_agree():
    with monitored(qmp=False) as (process, path, _):
        hmp = Hmp(path)
        spinning(hmp)
        registers = hmp('info registers')
        rip = int(re.search('RIP=([0-9a-f]+)', registers).group(1), 16)
        gpa = int(re.fullmatch('gpa: (0x[0-9a-f]+)\r\n', hmp('gva2gpa $rip')).group(1), 16)
        virtual = hmp('x /4xb $rip')
        equal(virtual.split(':')[0], '%016x' % rip)
        equal(hmp('xp /4xb %#x' % gpa).split(':')[1], virtual.split(':')[1])
        # Over the end of a page, where the next one may be anywhere.
        page = rip & ~0xfff
        bytes_ = [hmp('x /1xb %#x' % (page + 0xff8 + i)).split(':')[1].split()[0] for i in range(8)]
        equal(hmp('x /8xb %#x' % (page + 0xff8)).split(':')[1].split(), bytes_)
        if os.geteuid() == 0:
            contains(hmp('gpa2hpa %#x' % gpa), 'Host physical address for %#x (ram) is 0x' % gpa)


@test
def stop_means_stop():
    with monitored('spin', qmp=False) as (process, path, _):
        hmp = Hmp(path)
        spinning(hmp)
        def ticks():
            fields = open('/proc/%d/stat' % process.pid).read().rsplit(')', 1)[1].split()
            return int(fields[11]) + int(fields[12])
        equal(hmp('stop'), '')
        equal(hmp('info status'), 'VM status: paused\r\n')
        equal(hmp('stop'), '')
        before = ticks()
        time.sleep(0.5)
        if ticks() - before > 10:
            raise AssertionError('the guest runs on: %d ticks' % (ticks() - before))
        equal(hmp('c'), '')
        equal(hmp('info status'), 'VM status: running\r\n')
        before = ticks()
        until(lambda: ticks() > before + 5, 'the guest runs again')


@test
def quit_is_status_0():
    for when in ('quit', 'q', 'stop\nquit'):
        with monitored('spin', qmp=False, stderr=subprocess.PIPE) as (process, path, _):
            hmp = Hmp(path)
            hmp.socket.sendall(when.encode() + b'\n')
            equal(process.wait(PATIENCE), 0)
            contains(process.stderr.read(), b'quit')
            equal(os.path.exists(path), False, 'the socket is removed')


@test
def paused_until_cont():
    with monitored('hello', '--paused', stdout=subprocess.PIPE) as (process, path, qmp_path):
        hmp, qmp = Hmp(path), Qmp(qmp_path)
        equal(hmp('info status'), 'VM status: paused (prelaunch)\r\n')
        equal(qmp('query-status'), {'running': False, 'singlestep': False, 'status': 'prelaunch'})
        contains(hmp('info registers'), 'RAX=000000002badb002')
        contains(hmp('x /1xb $eip'), ': 0x')
        time.sleep(0.2)
        equal(process.poll(), None)
        hmp.socket.sendall(b'cont\n')
        equal(qmp.wait_event('SHUTDOWN')['data'], {'guest': True, 'reason': 'guest-shutdown'})
        equal(process.wait(PATIENCE), HELLO_STATUS)
        contains(process.stdout.read(), b'hello')


@test
def standard_input_and_output():
    """The console and the monitor share stdout; the end of the input is not the end of the guest."""
    need_kvm()
    done = subprocess.run([MEMVIRT, 'run', '-S', '--monitor', 'stdio', guest('hello')],
                          input=b'info status\nxp /1xw 0xffff0000\ncont\n', capture_output=True, timeout=PATIENCE)
    equal(done.returncode, HELLO_STATUS, str(done))
    contains(done.stdout, b'(memvirt) VM status: paused (prelaunch)\n')
    contains(done.stdout, b'00000000ffff0000: 0xf4f4f4f4\n')
    after_cont = done.stdout.split(b'f4f4f4f4\n', 1)[1]
    after_cont = after_cont.replace(PROMPT, b'')  # the console prints byte by byte, a prompt may come between
    contains(after_cont, b'hello', 'what came before cont is answered before the guest prints')


@test
def a_terminal_has_editing_and_history():
    need_kvm()
    if b'libedit.so' not in open(MEMVIRT, 'rb').read():
        raise Skip('built without libedit')
    pid, fd = pty.fork()
    if pid == 0:
        os.environ['TERM'] = 'vt100'
        os.execv(MEMVIRT, [MEMVIRT, 'run', '--monitor', 'stdio', guest('spin')])
    seen = b''

    def expect(part):
        nonlocal seen
        end = time.monotonic() + PATIENCE
        while part not in seen:
            if not select.select([fd], [], [], max(0, end - time.monotonic()))[0]:
                raise AssertionError('%r is not in %r' % (part, seen))
            seen += os.read(fd, 65536)
        seen = seen[seen.index(part) + len(part):]
    try:
        expect(PROMPT)
        os.write(fd, b'info statuz\x7fs\r')
        expect(b'VM status: running')
        expect(PROMPT)
        os.write(fd, b'\x1b[A\r')
        expect(b'info status')
        expect(b'VM status: running')
        expect(PROMPT)
        os.write(fd, b'quit\r')
        _, status = os.waitpid(pid, 0)
        pid = 0
        equal(status, 0)
    finally:
        if pid:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        os.close(fd)


@test
def lines_over_tcp():
    need_kvm()
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    with started('run', '--monitor', 'tcp:127.0.0.1:%d,server=on,wait=off' % port, guest('spin'),
                 stdout=subprocess.DEVNULL, stderr=subprocess.PIPE):
        hmp = Hmp(('127.0.0.1', port))
        equal(hmp('info status'), 'VM status: running\r\n')
        memvirt('run', '--monitor', 'tcp:127.0.0.1:%d' % port, guest('spin')).expect(REFUSED, str(port), 'listens')


# --- QMP --------------------------------------------------------------------------------------------------------


@test
def qmp_as_qemu_speaks_it():
    with monitored(hmp=False) as (process, _, path):
        qmp = Qmp(path, negotiate=False)
        version = memvirt('--version').out.split()[1].split('.')
        equal(qmp.greeting, {'QMP': {'version': {'qemu': dict(zip(('major', 'minor', 'micro'), map(int, version))),
                                                 'package': 'memvirt ' + '.'.join(version)}, 'capabilities': []}})
        answer = qmp.refuses({'execute': 'query-status', 'id': 7}, 'CommandNotFound',
                             "Expecting capabilities negotiation with 'qmp_capabilities'")
        equal(answer['id'], 7)
        equal(qmp('qmp_capabilities'), {})
        answer = qmp.refuses({'execute': 'qmp_capabilities', 'id': {'a': [1]}}, 'CommandNotFound',
                             'Capabilities negotiation is already complete, command ignored')
        equal(answer['id'], {'a': [1]})
        for message, kind, desc in (
                ({'execute': 'foo'}, 'CommandNotFound', 'The command foo has not been found'),
                ({'execute': 3}, 'GenericError', "QMP input member 'execute' must be a string"),
                ({'exec': 'stop'}, 'GenericError', "QMP input member 'exec' is unexpected"),
                ({'execute': 'stop', 'foo': 1}, 'GenericError', "QMP input member 'foo' is unexpected"),
                ({'id': 1}, 'GenericError', "QMP input lacks member 'execute'"),
                ([1], 'GenericError', 'QMP input must be a JSON object'),
                (b'3\n', 'GenericError', 'QMP input must be a JSON object'),
                ({'execute': 'cont', 'arguments': {'x': 1}}, 'GenericError', "Parameter 'x' is unexpected"),
                ({'execute': 'cont', 'arguments': 3}, 'GenericError',
                 "QMP input member 'arguments' must be an object"),
                ({'execute': 'human-monitor-command'}, 'GenericError', "Parameter 'command-line' is missing"),
                ({'execute': 'human-monitor-command', 'arguments': {'command-line': 3}}, 'GenericError',
                 "Invalid parameter type for 'command-line', expected: string"),
                ({'execute': 'human-monitor-command', 'arguments': {'command-line': 'stop', 'cpu-index': 5}},
                 'GenericError', "Parameter 'cpu-index' expects a CPU number")):
            equal(qmp.refuses(message, kind)['error']['desc'], desc)
        equal(qmp.ask({'execute': 'query-status', 'id': 'x'}),
              {'return': {'running': True, 'singlestep': False, 'status': 'running'}, 'id': 'x'})
        equal(qmp('human-monitor-command', command_line='info status'), 'VM status: running\r\n')
        equal(qmp('human-monitor-command', command_line='foo'), "unknown command: 'foo'\r\n")
        names = [command['name'] for command in qmp('query-commands')]
        for name in ('stop', 'cont', 'quit', 'query-status', 'query-version', 'query-commands',
                     'human-monitor-command', 'qmp_capabilities', 'x-query-ramblock'):
            contains(names, name)
        equal(len(names), len(set(names)))


@test
def explain_asks_a_running_guest():
    with monitored() as (process, path, qmp_path):
        hmp = Hmp(path)
        spinning(hmp)
        hmp('stop')
        rip = '0x' + re.search('RIP=([0-9a-f]+)', hmp('info registers')).group(1)
        ask = ['explain', '--qmp', 'unix:' + qmp_path]
        out = memvirt(*ask, '--access', 'fetch', rip, str(1 << 47)).expect(0).out
        equal(out, (hmp('explain -f ' + rip) + '\n' + hmp('explain -f 0x800000000000')).replace('\r', ''))
        for options, flags in ((['--access', 'write', '--user'], '-w -u'), (['--supervisor'], '-s'),
                               (['--implicit'], '-i')):
            equal(memvirt(*ask, *options, rip).expect(0).out, hmp('explain %s %s' % (flags, rip)).replace('\r', ''))
        report = memvirt(*ask, '--format', 'json', rip).expect(0).report()
        chain, = report['chains']
        equal((report['source'], chain['end'], chain['verdict']['rule']), ('unix:' + qmp_path, 'complete', 'none'))
        equal('human-readable-text' in chain, False)
        memvirt('explain', '--qmp', 'unix:' + path, '0').expect(REFUSED, 'QMP')  # HMP speaks otherwise


@test
def a_value_tree_for_programs():
    """What HMP prints and what QMP returns come from one tree."""
    with monitored() as (process, path, qmp_path):
        hmp, qmp = Hmp(path), Qmp(qmp_path)
        hmp('stop')
        dump = qmp('x-read-physical', address=0xd0000008, count=1, unit_bytes=4)
        equal(dump, {'address': '0xd0000008', 'format': 'x', 'unit-bytes': 4, 'complete': True,
                     'units': ['0x6d656d76']})
        equal(qmp('x-read-physical', address='0xd0000000000')['complete'], False)
        gpa = int(qmp('x-gva2gpa', address=qmp('x-query-cpu-registers')['rip'])['gpa'], 16)
        equal(hmp('gva2gpa $rip'), 'gpa: %#x\r\n' % gpa)
        hva = qmp('x-gpa2hva', address=gpa)
        equal(hmp('gpa2hva %#x' % gpa),
              'Host virtual address for %#x (%s) is %s\r\n' % (gpa, hva['region'], hva['hva']))
        for slot in qmp('x-query-slots'):
            contains(hmp('info slots'), '%016x' % int(slot['gpa'], 16))
        explained = qmp('x-explain', address=qmp('x-query-cpu-registers')['rip'], fetch=True)
        equal(int(explained['page']['gpa'], 16), gpa)
        equal((explained['verdict']['rule'], explained['end']), ('none', 'complete'))
        equal(hmp('explain -f $rip').replace('\r', ''), explained['human-readable-text'])
        contains(hmp('explain -u 0x800000000000'), '  the guest takes #GP')
        equal(qmp('x-explain', address='0x800000000000', write=True)['verdict']['rule'], 'non-canonical')
        qmp.refuses({'execute': 'x-explain', 'arguments': {'address': 0, 'write': True, 'fetch': True}},
                    'GenericError', 'only one of write and fetch')
        qmp.refuses({'execute': 'x-explain', 'arguments': {'address': 0, 'user': True, 'implicit': True}},
                    'GenericError', 'only one of user, supervisor and implicit')
        for flags, words in (('-w -u', 'a write by a user'), ('-f -s', 'a fetch by a supervisor'),
                             ('-i', 'a read by the processor itself')):
            contains(hmp('explain %s 0' % flags), 'gva 0x0, %s\r\n' % words)
        page = explained['page']
        equal((page['way'], page['region'], page['readonly']), (['system', 'ram-below-4g', 'ram'], 'ram', False))
        equal(page['rights'], explained['entries'][-1]['rights'])
        text = qmp('x-query-ramblock')['human-readable-text']
        equal(hmp('info ramblock').replace('\r', ''), text)
        for block in qmp('x-query-blocks'):
            contains(text, '%24s    4 KiB  0x%016x 0x%016x 0x%016x\n' % (
                block['name'], int(block['offset'], 16), block['used'], block['total']))
        qmp.refuses({'execute': 'x-gpa2hva', 'arguments': {'address': 0xd0000000}}, 'GenericError', 'is not RAM')
        qmp.refuses({'execute': 'x-gpa2hva', 'arguments': {'address': '12q'}}, 'GenericError', 'expected: integer')
        qmp.refuses({'execute': 'x-gpa2hva', 'arguments': {'address': -1}}, 'GenericError', 'expected: integer')
        qmp.refuses({'execute': 'x-gpa2hva'}, 'GenericError', "'address' is missing")
        qmp.refuses({'execute': 'x-read-physical', 'arguments': {'address': 0, 'unit-bytes': 3}}, 'GenericError')
        qmp.refuses({'execute': 'x-read-physical', 'arguments': {'address': 0, 'format': 'i'}}, 'GenericError')


@test
def events_reach_every_client():
    need_kvm()
    need_json()
    with temporary() as directory:
        paths = [directory + '/q%d' % i for i in range(3)]
        options = [word for path in paths for word in ('--qmp', 'unix:' + path)]
        with started('run', *options, guest('spin'), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            one, two, mute = Qmp(paths[0]), Qmp(paths[1]), Qmp(paths[2], negotiate=False)
            before = time.time()
            one('stop')
            equal([event['event'] for event in one.events], ['STOP'], 'before the answer')
            stamp = two.wait_event('STOP')['timestamp']
            if not before - 2 < stamp['seconds'] + stamp['microseconds'] / 1e6 < time.time() + 2:
                raise AssertionError(stamp)
            two('stop')
            equal(two.events, [], 'it was stopped')
            two('cont')
            one.wait_event('RESUME')
            equal(one.ask({'execute': 'quit', 'id': 9}), {'return': {}, 'id': 9})
            for qmp in (one, two):
                equal(qmp.wait_event('SHUTDOWN')['data'], {'guest': False, 'reason': 'host-qmp-quit'})
            equal(mute.receive(), None, 'no events before the negotiation')
            equal(process.wait(PATIENCE), 0)


@test
def shutdown_says_why():
    for name, status, reason in (('triple', GUEST_FAILED, 'guest-reset'), ('halt', GUEST_FAILED, 'guest-panic')):
        with monitored(name, '-S', hmp=False) as (process, _, path):
            qmp = Qmp(path)
            qmp.send({'execute': 'cont'})
            equal(qmp.wait_event('SHUTDOWN')['data'], {'guest': True, 'reason': reason})
            equal(process.wait(PATIENCE), status)
    with monitored('spin', hmp=False) as (process, _, path):
        qmp = Qmp(path)
        process.send_signal(signal.SIGTERM)
        equal(qmp.wait_event('SHUTDOWN')['data'], {'guest': False, 'reason': 'host-signal'})
        equal(process.wait(PATIENCE), 143)


@test
def bad_json_is_answered_and_forgotten():
    with monitored(hmp=False) as (process, _, path):
        qmp = Qmp(path)
        for text in (b'foo\n', b'{"execute": "stop",}\n', b'{"a": ]\n', b'}\n', b'{"execute": foo}\n',
                     b'{"execute": "st\nop"}\n', b'[' * 65 + b']' * 65 + b'\n', b'{"execute": "cont", "execute": "stop"}\n',
                     b'{"execute": "st\xff', b'{"execute": "\x01"}\n', b'"' + b'x' * 70000 + b'"\n',
                     b'{"execute": "stop\\u0000"}\n', b'\xff', b'nul\n', b'{"execute": "stop" "id": 1}\n',
                     b'{"execute": "\xc3\x28"}\n'):
            qmp.refuses(text, 'GenericError', 'JSON')
            # A mistake may be worth more than one error; then the stream is in order again.
            answer = qmp.ask({'execute': 'query-status', 'id': text[:20].decode('latin1')})
            while 'error' in answer:
                equal(answer['error']['class'], 'GenericError')
                answer = qmp.answer()
            equal((answer['return']['status'], answer['id']), ('running', text[:20].decode('latin1')))


@test
def a_command_may_come_in_pieces_and_several_at_once():
    with monitored(hmp=False) as (process, _, path):
        qmp = Qmp(path)
        for byte in b'{"execute":\n"query-status",\n "id": "{}\\"]"}':
            qmp.send(bytes([byte]))
        equal(qmp.answer()['id'], '{}"]')
        qmp.send(b'{"execute":"query-status","id":1}{"execute":"query-version","id":2} {"execute":"foo","id":3}')
        equal([qmp.answer()['id'] for _ in range(3)], [1, 2, 3])


@test
def socat_works():
    """What people do in scripts: one client that sends, hangs up and still gets its answers."""
    socat = shutil.which('socat')
    if not socat:
        raise Skip('socat is not installed')
    with monitored() as (process, path, qmp_path):
        connect(path).close()
        done = subprocess.run([socat, '-t5', '-', 'UNIX-CONNECT:' + path], input=b'info status\n', capture_output=True,
                              timeout=PATIENCE)
        contains(done.stdout, b'VM status: running')
        done = subprocess.run([socat, '-t5', '-', 'UNIX-CONNECT:' + qmp_path],
                              input=b'{"execute":"qmp_capabilities"}{"execute":"query-status"}', capture_output=True,
                              timeout=PATIENCE)
        equal([list(json.loads(line))[0] for line in done.stdout.splitlines()], ['QMP', 'return', 'return'])


@test
def the_end_of_the_input_is_not_the_end_of_the_answers():
    with monitored(qmp=False) as (process, path, _):
        connection = connect(path)
        connection.sendall(b'xp /4096xb 0\n' * 200)
        connection.shutdown(socket.SHUT_WR)
        time.sleep(0.5)
        got = b''
        while True:
            more = connection.recv(1 << 20)
            if not more:
                break
            got += more
        equal(got.count(PROMPT), 201)


@test
def what_was_asked_before_the_end_is_answered():
    """More than a socket keeps, asked for by one client; another one quits; then the first begins to read."""
    with monitored(qmp=False) as (process, path, _):
        first = Hmp(path)
        first.socket.sendall(b'xp /65536xb 0\n')
        time.sleep(0.5)
        process.send_signal(signal.SIGTERM)
        time.sleep(0.05)
        equal(first.until_prompt().count('\n'), 8192)
        equal(process.wait(PATIENCE), 143)


@test
def qmp_shell_works():
    """QEMU's own client, where python3 has it (pip: qemu.qmp)."""
    shell = shutil.which('qmp-shell')
    if not shell:
        raise Skip('qmp-shell is not installed: it is no Debian package; pip has it as qemu.qmp')
    with monitored(hmp=False) as (process, _, path):
        connect(path).close()
        done = subprocess.run([shell, path], input=b'query-status\nstop\nquery-status\n', capture_output=True,
                              timeout=PATIENCE)
        contains(done.stdout, b'"status": "running"')
        contains(done.stdout, b'"status": "paused"')


# --- clients that misbehave -------------------------------------------------------------------------------------


def memory_kib(process):
    return int(re.search(r'VmData:\s+(\d+)', open('/proc/%d/status' % process.pid).read()).group(1))


def need_little_more(process, before):
    """Less than a few answers. AddressSanitizer keeps 256 MiB of what is freed."""
    limit = 320 << 10 if b'__asan_init' in open(MEMVIRT, 'rb').read() else 16 << 10
    more = memory_kib(process) - before
    if more > limit:
        raise AssertionError('%d KiB more' % more)


@test
def who_never_reads_holds_up_nobody():
    with monitored('spin') as (process, path, qmp_path):
        idle, qmp = connect(path), Qmp(qmp_path)
        before = memory_kib(process)
        idle.setblocking(False)
        sent = 0
        try:
            while sent < 1 << 20:
                sent += idle.send(b'xp /65536xb 0\n' * 100)
        except BlockingIOError:
            pass
        for _ in range(200):
            qmp('stop')
            qmp('cont')
        time.sleep(2)
        need_little_more(process, before)
        # Nor does one that gets more events than it reads.
        idle.close()
        hmp = Hmp(path)
        for _ in range(5000):
            hmp.socket.sendall(b'stop\ncont\n')
            hmp.until_prompt()
        until(lambda: hmp('info status') == 'VM status: running\r\n', 'all is done')
        need_little_more(process, before)
        hmp.socket.sendall(b'quit\n')
        equal(process.wait(PATIENCE), 0)


@test
def long_lines():
    with monitored(qmp=False) as (process, path, _):
        hmp = Hmp(path)
        contains(hmp('x' * 70000), 'longer than 65535 bytes')
        contains(hmp('x' * 2000000), 'longer than 65535 bytes')
        equal(hmp('info status'), 'VM status: running\r\n')
        contains(hmp('xp ' + '(' * 60000), 'too deep')
        contains(hmp('xp ' + '-' * 60000 + '1'), 'too deep')
        contains(hmp('\x00info status'), '')
        contains(hmp('\xff\xfe\x80'), 'unknown command')
        equal(hmp('info status'), 'VM status: running\r\n')


@test
def clients_come_and_go():
    with monitored('spin') as (process, path, qmp_path):
        for i in range(100):
            connection = connect(path if i % 2 else qmp_path)
            if i % 3 == 0:
                connection.sendall(b'info mtree -f\n{"execute":')
            if i % 7 == 0:
                connection.recv(10)
            connection.close()
        qmp = Qmp(qmp_path)
        equal(qmp('query-status')['running'], True)
        first = Hmp(path)
        first('stop')
        first.close()
        second = Hmp(path)
        equal(second('info status'), 'VM status: paused\r\n', 'a stop outlives who said it')
        second('cont')


@test
def stop_and_cont_a_thousand_times():
    with monitored('spin') as (process, path, qmp_path):
        hmp, qmp = Hmp(path), Qmp(qmp_path)
        wrong = []

        def look():
            try:
                for _ in range(300):
                    if 'RIP=' not in hmp('info registers'):
                        wrong.append('no registers')
            except Exception as error:  # told by the main thread
                wrong.append(error)
        thread = threading.Thread(target=look)
        thread.start()
        for _ in range(1000):
            qmp('stop')
            equal(qmp('query-status')['status'], 'paused')
            qmp('cont')
        thread.join()
        equal(wrong, [])
        equal([event['event'] for event in qmp.events], ['STOP', 'RESUME'] * 1000)
        qmp('quit')
        equal(process.wait(PATIENCE), 0)


@test
def signals_end_a_paused_guest():
    with monitored('spin', '-S', qmp=False) as (process, path, _):
        Hmp(path).close()
        process.send_signal(signal.SIGTERM)
        equal(process.wait(PATIENCE), 143)


# --- addresses --------------------------------------------------------------------------------------------------


WRONG = [
    ('--monitor', 'pty', 'unix:PATH'),
    ('--monitor', '', 'unix:PATH'),
    ('--monitor', 'unix:', 'path is missing'),
    ('--monitor', 'unix:' + 'x' * 108, 'too long'),
    ('--monitor', 'tcp:0.0.0.0:4444', '127.0.0.1 only'),
    ('--monitor', 'tcp::4444', '127.0.0.1 only'),
    ('--monitor', 'tcp:127.0.0.1', 'port'),
    ('--monitor', 'tcp:127.0.0.1:0', 'port'),
    ('--monitor', 'tcp:127.0.0.1:65536', 'port'),
    ('--monitor', 'tcp:127.0.0.1:1x', 'port'),
    ('--monitor', 'tcp:127.0.0.1:', 'port'),
    ('--monitor', 'unix:x,wait=on', 'server=on and wait=off'),
]
for number, (option, address, part) in enumerate(WRONG):
    add('wrong_%d_%s' % (number, address[:20]), lambda o, a, p: memvirt('run', o, a, 'IMAGE').expect(USAGE, o, p),
        option, address, part)


@test
def wrong_together():
    need_json()
    memvirt('run', '--qmp', 'stdio', 'IMAGE').expect(USAGE, '--qmp', 'sockets')
    memvirt('run', '--paused', 'IMAGE').expect(USAGE, '--paused', '--monitor')
    memvirt('run', '--monitor', 'stdio', '--stats', 'json', 'IMAGE').expect(USAGE, 'stdio', 'json')
    memvirt('run', '--monitor', 'unix:a', '--qmp', 'unix:a', 'IMAGE').expect(USAGE, 'another')


@test
def what_is_in_the_way():
    need_kvm()
    with temporary() as directory:
        path = directory + '/socket'
        with open(path, 'w') as file:
            file.write('precious')
        memvirt('run', '--monitor', 'unix:' + path, guest('hello')).expect(REFUSED, path, 'no socket')
        equal(open(path).read(), 'precious')
        os.unlink(path)
        stale = socket.socket(socket.AF_UNIX)
        stale.bind(path)
        stale.close()
        equal(memvirt('run', '--monitor', 'unix:' + path, guest('hello')).status, HELLO_STATUS)
        equal(os.path.exists(path), False)
        memvirt('run', '--monitor', 'unix:%s/no/such' % directory, guest('hello')).expect(REFUSED, 'No such file')
        with started('run', '--monitor', 'unix:' + path, guest('spin'), stdout=subprocess.DEVNULL):
            hmp = Hmp(path)
            memvirt('run', '--monitor', 'unix:' + path, guest('hello')).expect(REFUSED, path, 'listens')
            equal(hmp('info status'), 'VM status: running\r\n', 'and the first is none the worse')


if __name__ == '__main__':
    main()
