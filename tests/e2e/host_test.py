# SPDX-License-Identifier: MIT
"""What the host does to a run: no /dev/kvm, no right to it, no memory, no room for the output, signals."""
import fcntl
import json
import os
import resource
import shutil
import signal
import stat
import subprocess
import sys
import time

from harness import (HOST_ERROR, MEMVIRT, NO_ACCEL, REFUSED, guest, memvirt, need_json, need_kvm, need_root, run,
                     started, temporary)
from tap import Skip, contains, equal, main, test

NOBODY = 65534
SETPIPE_SZ = 1031  # F_SETPIPE_SZ, which fcntl has from Python 3.10


# --- /dev/kvm ---------------------------------------------------------------------------------------------------


def refuses(reason, **how):
    """`check` and `run` agree on why kvm cannot be used; that comes before anything about the image."""
    result = memvirt('check', **how)
    equal(result.status, NO_ACCEL, str(result))
    contains(result.out, 'kvm: not usable: %s: /dev/kvm: ' % reason)
    accel, soft = memvirt('check', '--json', **how).report()['accelerators']
    equal((soft['name'], soft['usable'], soft['runs_guests']), ('soft', True, False))
    equal((accel['name'], accel['usable'], accel['reason']), ('kvm', False, reason))
    for options in ([], ['--accel', 'kvm'], ['--accel', 'kvm', '--stats', 'json']):
        result = memvirt('run', *options, '/nonexistent', **how).expect(NO_ACCEL, 'kvm', reason, accel['text'])
        equal(result.out, '')


def in_namespace(command):
    """A wrapper that runs memvirt where `command` has changed what is mounted."""
    need_root()
    wrapper = ['unshare', '-m', '--propagation', 'private', 'sh', '-c', command + ' && exec "$@"', 'sh']
    try:
        subprocess.run(wrapper + ['true'], check=True, capture_output=True, text=True)
    except FileNotFoundError:
        raise Skip('there is no unshare(1)')
    except subprocess.CalledProcessError as error:
        raise Skip('no mounts of our own here: %s' % (error.stderr.strip() or error))
    return wrapper


@test
def no_device():
    if os.path.exists('/dev/kvm'):
        refuses('no-device', wrapper=in_namespace('mount -t tmpfs none /dev'))
    else:
        refuses('no-device')


@test
def another_device_in_its_place():
    if not os.path.exists('/dev/kvm'):
        raise Skip('there is no /dev/kvm in whose place something could be put')
    refuses('no-device', wrapper=in_namespace('mount --bind /dev/null /dev/kvm'))


@test
def no_permission():
    if not os.path.exists('/dev/kvm'):
        raise Skip('there is no /dev/kvm to which a right could be missing')
    if os.geteuid() != 0:
        if os.access('/dev/kvm', os.R_OK | os.W_OK):
            raise Skip('this user may open /dev/kvm, and only root can become another')
        refuses('no-permission')
        return
    mode = os.stat('/dev/kvm').st_mode
    if mode & (stat.S_IROTH | stat.S_IWOTH) == stat.S_IROTH | stat.S_IWOTH:
        raise Skip('every user may open this /dev/kvm')
    with temporary() as directory:  # where the build is may be closed to others
        binary = shutil.copy(MEMVIRT, directory)
        os.chmod(binary, 0o755)
        refuses('no-permission', binary=binary, user=NOBODY, group=NOBODY, extra_groups=[], cwd='/')


# --- memory and descriptors -------------------------------------------------------------------------------------


@test
def more_memory_than_the_host_can_map():
    run('hello', '-m', '1000T').expect(REFUSED, 'ram', 'Cannot allocate memory')
    run('hello', '-m', '16777215T').expect(REFUSED, 'ram', 'Cannot allocate memory')


def limited(kind, value):
    return {'preexec_fn': lambda: resource.setrlimit(kind, (value, value))}


@test
def more_memory_than_this_process_may_map():
    need_kvm()
    how = limited(resource.RLIMIT_AS, 1 << 30)
    if memvirt('--version', **how).status != 0:
        raise Skip('this build does not even start in 1 GiB of address space (a sanitizer)')
    run('hello', '-m', '2G', **how).expect(REFUSED, 'ram', 'Cannot allocate memory')


@test
def too_few_descriptors():
    need_kvm()
    run('smp', '--vcpus', '100', **limited(resource.RLIMIT_NOFILE, 40)).expect(REFUSED, 'Too many open files')


# --- output -----------------------------------------------------------------------------------------------------


def full():
    if not os.path.exists('/dev/full'):
        raise Skip('there is no /dev/full')
    return open('/dev/full', 'wb')


@test
def a_full_disk():
    for arguments in (['--version'], ['--help'], ['run', '--help'], ['check'], ['check', '--json']):
        with full() as out:
            memvirt(*arguments, stdout=out).expect(HOST_ERROR, 'standard output')


@test
def a_full_disk_during_a_run():
    for options in ([], ['--stats', 'text'], ['--stats', 'json']):
        with full() as out:
            run('first', *options, stdout=out).expect(HOST_ERROR, 'standard output')


@test
def a_closed_stdout():
    """It must not become the descriptor of something else, such as /dev/kvm."""
    need_kvm()
    closed = ['sh', '-c', 'exec "$@" >&-', 'sh']
    for arguments in (['run', guest('hello')], ['--version']):
        memvirt(*arguments, wrapper=closed).expect(HOST_ERROR, 'standard output')


@test
def a_closed_stdin_and_stderr():
    need_kvm()
    need_json()
    result = memvirt('run', '--stats', 'json', guest('first'), wrapper=['sh', '-c', 'exec "$@" <&- 2>&-', 'sh'])
    equal(result.status, 0)
    equal(result.report()['console'].splitlines()[-1], 'done')


@test
def a_pipe_that_nobody_reads():
    read_end, write_end = os.pipe()
    os.close(read_end)
    try:
        memvirt('--version', stdout=write_end).expect(HOST_ERROR, 'standard output', 'Broken pipe')
        need_kvm()
        memvirt('run', guest('first'), stdout=write_end).expect(HOST_ERROR, 'standard output', 'Broken pipe')
    finally:
        os.close(write_end)


@test
def a_pipe_that_is_full_and_does_not_block():
    """Whoever shares a pipe or terminal with memvirt may have made it so; nothing is lost, and nothing is stopped."""
    need_kvm()
    for options in ([], ['--stats', 'text']):
        read_end, write_end = os.pipe()
        fcntl.fcntl(write_end, SETPIPE_SZ, 4096)
        os.set_blocking(write_end, False)
        filling = os.write(write_end, b'x' * 65536)
        with started('run', *options, guest('first'), stdout=write_end, stderr=subprocess.PIPE) as process:
            os.close(write_end)
            time.sleep(0.3)
            with os.fdopen(read_end, 'rb') as stream:
                text = stream.read()[filling:].decode()
            equal((process.wait(), process.stderr.read()), (0, b''))
        contains(text, 'done\n')
        if options:
            contains(text, 'KVM_TRANSLATE agrees')


# --- signals ----------------------------------------------------------------------------------------------------


def wait_for(stream, text):
    seen = b''
    while text not in seen:
        piece = os.read(stream.fileno(), 4096)
        if not piece:
            raise AssertionError('it ended after %r' % seen)
        seen += piece


def stopped_by(number, *options):
    need_kvm()
    stats = 'json' in options
    if stats:
        need_json()
    with started('run', *options, guest('spin'), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                 bufsize=0) as process:
        wait_for(process.stderr if stats else process.stdout, b'for good\n')
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
        equal(process.returncode, 128 + number)
        return out.decode(), err.decode()


@test
def stopped_by_sigint():
    equal(stopped_by(signal.SIGINT), ('', 'memvirt: stopped by SIGINT\n'))


@test
def stopped_by_sigterm():
    equal(stopped_by(signal.SIGTERM), ('', 'memvirt: stopped by SIGTERM\n'))


@test
def a_report_after_a_signal():
    out, _ = stopped_by(signal.SIGINT, '--stats', 'json')
    stop = json.loads(out)['stop']
    equal((stop['reason'], stop['status'], stop['text']), ('request', 130, 'stopped by SIGINT'))
    contains(stopped_by(signal.SIGTERM, '--stats', 'text')[0], 'stop: request, status 143')


@test
def many_runs_that_are_stopped_early():
    """A stop is not missed, whenever it comes."""
    need_kvm()
    for i in range(20):
        with started('run', guest('spin'), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            time.sleep(0.003 * i)
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=30)
            # Before there is a VM to stop, the signal does what it does to any process.
            contains((130, -signal.SIGINT), process.returncode)


def blocked_pipe():
    """A pipe that is full: who writes to it waits."""
    read_end, write_end = os.pipe()
    fcntl.fcntl(write_end, SETPIPE_SZ, 4096)
    os.write(write_end, bytes(4096))
    return read_end, write_end


@test
def the_second_sigint_ends_it_at_once():
    """The guest's console is stuck in a pipe, so the first cannot come to an end."""
    need_kvm()
    read_end, write_end = blocked_pipe()
    try:
        with started('run', guest('spin'), stdout=write_end, stderr=subprocess.PIPE) as process:
            time.sleep(1)
            process.send_signal(signal.SIGINT)
            time.sleep(0.3)
            equal(process.poll(), None, 'after the first signal')
            process.send_signal(signal.SIGINT)
            equal(process.wait(30), -signal.SIGINT)
    finally:
        os.close(read_end)
        os.close(write_end)


@test
def an_ignored_signal_stays_ignored():
    """As for a background job of a shell, or under nohup."""
    need_kvm()
    with started('run', guest('spin'), stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0,
                 preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN)) as process:
        wait_for(process.stdout, b'for good\n')
        process.send_signal(signal.SIGINT)
        time.sleep(0.3)
        equal(process.poll(), None)
        process.send_signal(signal.SIGTERM)
        equal(process.wait(30), 143)


# --- the user ---------------------------------------------------------------------------------------------------


@test
def a_user_with_the_right_to_it():
    """Nothing but /dev/kvm needs a right."""
    need_root()
    need_kvm()
    with temporary() as directory:
        binary = shutil.copy(MEMVIRT, directory)
        image = shutil.copy(guest('first'), directory)
        for path in (binary, image):
            os.chmod(path, 0o755)
        kvm = os.path.join(directory, 'kvm')
        device = os.stat('/dev/kvm').st_rdev
        os.mknod(kvm, 0o666 | stat.S_IFCHR, device)
        os.chmod(kvm, 0o666)
        wrapper = in_namespace("mount --bind '%s' /dev/kvm" % kvm)
        wrapper += ['setpriv', '--reuid', str(NOBODY), '--regid', str(NOBODY), '--clear-groups', '--']
        try:
            subprocess.run(wrapper + ['sh', '-c', ': <>/dev/kvm'], check=True, capture_output=True)
        except (FileNotFoundError, subprocess.CalledProcessError):
            raise Skip('no user without rights can be given a /dev/kvm here')
        result = memvirt('run', '--stats', 'json', image, binary=binary, wrapper=wrapper, cwd='/').expect(0)
        for chain in result.report()['chains']:
            equal(chain['page']['hpa_reason'], 'no-permission')


if __name__ == '__main__':
    sys.exit(main())
