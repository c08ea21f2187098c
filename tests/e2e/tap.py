# SPDX-License-Identifier: MIT
"""Tests that print TAP, as tools/test-summary reads it: a skip needs a reason, and is not a pass."""
import sys
import traceback

_tests = []


class Skip(Exception):
    """Raised by a test that cannot be done here; its text is the reason."""


def add(name, function, *arguments):
    _tests.append((name, function, arguments))


def test(function):
    """A decorator: the function is a test of its own name."""
    add(function.__name__, function)
    return function


def equal(got, wanted, what=''):
    if got != wanted:
        raise AssertionError('%sgot %r, wanted %r' % (what and what + ': ', got, wanted))


def contains(text, part, what=''):
    if part not in text:
        raise AssertionError('%s%r does not have %r' % (what and what + ': ', text, part))


def _comment(text):
    for line in text.splitlines():
        print('# ' + line)


def main():
    """Run every test. Exits with 1 if one failed. Arguments are names of the only tests to run."""
    sys.stdout.reconfigure(errors='backslashreplace', line_buffering=True)
    chosen = [t for t in _tests if len(sys.argv) == 1 or t[0] in sys.argv[1:]]
    failed = False
    print('1..%d' % len(chosen))
    for number, (name, function, arguments) in enumerate(chosen, 1):
        try:
            function(*arguments)
            print('ok %d - %s' % (number, name))
        except Skip as skip:
            print('ok %d - %s # SKIP %s' % (number, name, ' '.join(str(skip).split())))
        except Exception:  # whatever it is: this test failed, and the others are still to run
            failed = True
            print('not ok %d - %s' % (number, name))
            _comment(traceback.format_exc())
    sys.exit(1 if failed else 0)
