# SPDX-License-Identifier: MIT
"""Running memvirt, and what its tests need to know of this host."""
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
from contextlib import contextmanager

from tap import Skip, contains

MEMVIRT = os.path.abspath(os.environ.get('MEMVIRT', 'build/memvirt'))
GUESTS = os.path.abspath(os.environ.get('MEMVIRT_GUESTS', 'build/guests'))
_HERE = os.path.dirname(os.path.abspath(__file__))
SOURCE = os.environ.get('MEMVIRT_SOURCE', os.path.dirname(os.path.dirname(_HERE)))
TIMEOUT = 60

# Exit statuses of memvirt's own; see memvirt-run(1).
USAGE, NO_ACCEL, REFUSED, GUEST_FAILED, HOST_ERROR = 2, 3, 4, 5, 6


class Result:
    """How a run of memvirt ended, and what it printed."""

    def __init__(self, arguments, status, out, err):
        self.arguments = arguments
        self.status = status
        self.out_bytes = out
        self.err_bytes = err
        self.out = out.decode(errors='replace')
        self.err = err.decode(errors='replace')

    def __str__(self):
        command = ' '.join(self.arguments)
        return '%s: status %d\nstdout: %s\nstderr: %s' % (command, self.status, self.out, self.err)

    def said(self):
        """memvirt's own lines on stderr."""
        return [line for line in self.err.splitlines() if line.startswith('memvirt: ')]

    def expect(self, status, *parts):
        """It ended with `status` and said exactly one line, which has all these parts; without parts, no line."""
        if self.status != status or len(self.said()) != (1 if parts else 0):
            lines = 'one line' if parts else 'no line'
            raise AssertionError('wanted status %d and %s from %s' % (status, lines, self))
        for part in parts:
            contains(self.said()[0], part)
        return self

    def report(self):
        """The JSON that is alone on stdout."""
        try:
            return json.loads(self.out_bytes.decode('utf-8'))
        except ValueError as error:
            raise AssertionError('stdout is no JSON (%s) from %s' % (error, self))


def memvirt(*arguments, binary=None, wrapper=(), timeout=TIMEOUT, **options):
    """Run memvirt to its end. `wrapper`: a command that runs it. Skips if it has to print JSON and cannot."""
    command = list(wrapper) + [binary or MEMVIRT] + list(arguments)
    options.setdefault('stdout', subprocess.PIPE)
    options.setdefault('stderr', subprocess.PIPE)
    done = subprocess.run(command, stdin=subprocess.DEVNULL, timeout=timeout, **options)
    if b'built without jansson' in (done.stderr or b''):
        raise Skip('this memvirt was built without jansson')
    return Result(command, done.returncode, done.stdout or b'', done.stderr or b'')


def guest(name):
    path = os.path.join(GUESTS, 'flat.bin' if name == 'flat' else name + '.elf')
    if not os.path.exists(path):
        raise Skip('%s was not built: guests need an x86-64 compiler' % os.path.basename(path))
    return path


def run(name, *options, **how):
    """Run one of the guests on KVM."""
    need_kvm()
    return memvirt('run', '--accel', 'kvm', *options, guest(name), **how)


def report_of(name, *options):
    return run(name, '--stats', 'json', *options).report()


def kvm_status():
    """What `memvirt check` says of kvm: whether it is usable, the reason and the sentence."""
    line = re.match('kvm: (usable|not usable): ([a-z-]+): (.+)\n', memvirt('check').out)
    return line.group(1) == 'usable', line.group(2), line.group(3)


def need_kvm():
    usable, reason, text = kvm_status()
    if not usable:
        raise Skip('kvm: %s: %s' % (reason, text))


def need_json():
    memvirt('check', '--json')


def need_root():
    if os.geteuid() != 0:
        raise Skip('needs root')


@contextmanager
def temporary():
    """A directory that every user can reach."""
    path = tempfile.mkdtemp(prefix='memvirt-e2e-')
    try:
        os.chmod(path, 0o755)
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextmanager
def started(*arguments, **options):
    """memvirt as a process that runs meanwhile; it is killed at the end if it is still there."""
    process = subprocess.Popen([MEMVIRT] + list(arguments), stdin=subprocess.DEVNULL, **options)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.wait()
        for stream in (process.stdout, process.stderr):
            if stream:
                stream.close()
