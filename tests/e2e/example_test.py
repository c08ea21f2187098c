# SPDX-License-Identifier: MIT
"""The examples do what they say: the complete VMM of the README, and a CPU of one's own."""
import os
import subprocess
import sys

import tap
from harness import SOURCE, need_kvm

CPU = sys.argv.pop()
TINY = sys.argv.pop()


@tap.test
def tiny_runs_its_guest():
    need_kvm()
    done = subprocess.run([TINY], capture_output=True, text=True, timeout=60)
    tap.equal(done.returncode, 0, done.stderr)
    tap.equal(done.stdout.splitlines(), [
        'hello from the guest',
        'vCPU 0: halted with interrupts off at rip 0x100b, and nothing can wake it',
    ])


@tap.test
def a_cpu_of_ones_own():
    done = subprocess.run([CPU], capture_output=True, text=True, timeout=60)
    tap.equal(done.returncode, 0, done.stderr)
    tap.equal(done.stdout.splitlines(), [
        'accumulator 42; page fault at 0x600000, error code 2: not present',
        '6 accesses, 1 TLB misses, 48 references to tables, 5 EPT violations',
    ])


@tap.test
def examples_are_short():
    for name in ('tiny.c', 'cpu.c'):
        with open(os.path.join(SOURCE, 'examples', name)) as file:
            if len(file.readlines()) > 100:
                raise AssertionError('%s has more than 100 lines' % name)


tap.main()
