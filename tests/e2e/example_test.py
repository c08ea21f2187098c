# SPDX-License-Identifier: MIT
"""The complete VMM of the README prints what its guest says, and why it ended."""
import subprocess
import sys

import tap
from harness import need_kvm

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


tap.main()
