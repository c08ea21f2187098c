# SPDX-License-Identifier: MIT
"""What the lint scripts share: which files there are, C without its comments, and how a finding is reported.

Every lint script takes an optional ROOT (default: this project), prints "FILE:LINE: what is wrong" for each finding
and exits 1 if there was any. tools/lint-selftest shows each script a tree with one fault, and wants it found.
"""
import os
import re
import subprocess
import sys

sys.dont_write_bytecode = True


class Findings:
    def __init__(self, root):
        self.root = root
        self.count = 0

    def add(self, path, line, text):
        """line: a number from 1, or 0 for the file as a whole."""
        self.count += 1
        print('%s:%s %s' % (path, '%d:' % line if line else '', text))

    def note(self, path, text):
        print('%s: note: %s' % (path, text))

    def finish(self):
        name = os.path.basename(sys.argv[0])
        if self.count:
            print('%s: %d finding%s' % (name, self.count, '' if self.count == 1 else 's'))
            return 1
        print('%s: fine' % name)
        return 0


def project_root():
    return os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def _walk(root):
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(f for f in folders if f not in ('.git', '__pycache__') and not re.match(r'build(-|$)', f))
        for name in sorted(names):
            yield os.path.relpath(os.path.join(folder, name), root)


def files(root):
    """Every file of the project, relative to root: what git tracks or would offer to; all but builds without git."""
    try:
        git = ['git', '-c', 'safe.directory=*', '-C', root]
        top = subprocess.run(git + ['rev-parse', '--show-toplevel'], capture_output=True, text=True, check=True)
        if os.path.realpath(top.stdout.strip()) == os.path.realpath(root):
            out = subprocess.run(git + ['ls-files', '-z', '--cached', '--others', '--exclude-standard'],
                                 capture_output=True, text=True, check=True).stdout
            return sorted(p for p in set(out.split('\0')) if p and os.path.isfile(os.path.join(root, p)))
    except (FileNotFoundError, subprocess.CalledProcessError):
        pass
    return list(_walk(root))


def c_files(root, *folders):
    return [p for p in files(root) if p.endswith(('.c', '.h')) and (not folders or p.split('/')[0] in folders)]


def read(root, path):
    with open(os.path.join(root, path), encoding='utf-8', errors='replace') as file:
        return file.read()


_TOKEN = re.compile(r'//(?:\\\n|[^\n])*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)


def _blank(match):
    text = match.group(0)
    if text[0] == '/':
        return re.sub(r'[^\n]', ' ', text)
    return text[0] + ' ' * (len(text) - 2) + text[-1]


def c_code(text):
    """C with comments and the insides of literals blanked out; lines and columns stay."""
    return _TOKEN.sub(_blank, text)


def line_of(text, position):
    return text.count('\n', 0, position) + 1


def root_argument():
    if len(sys.argv) > 2:
        sys.exit('usage: %s [ROOT]' % sys.argv[0])
    return os.path.abspath(sys.argv[1]) if len(sys.argv) == 2 else project_root()
