#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""doc_blocks.py: the code blocks of README.md and docs/, and how each is tested.

With "host": the commands that are for this machine. Without an argument, from the project's folder: checks that tests/lab/docs.list knows every block, and that every line
of that list is about one; prints what is wrong, and ends with status 1 then.

A block is a fenced one, an indented one, or in a manual page one of .Dl lines or of .Bd -literal. docs.list has lines
of three columns, which tabs separate: the page, a shell pattern, and how:

    typed           tests/lab/typed.py types it in the lab, line by line, into a shell, and compares the output
    typed, other output: REASON   the same, but what the page shows cannot be compared
    sh              tests/lab/switching-doc.sh runs it in the lab
    host            tests/lab/run runs it on this machine: it starts a lab
    text            there is no command in it: output, a protocol, source
    not: REASON     nobody runs it here, because

The pattern is for a block's first line, or, so that one command of several can be an exception, for a command (a line
that begins with "$ " or "# "). What is further up counts.
"""
import fnmatch
import glob
import os
import re
import sys

LIST = 'tests/lab/docs.list'


class Block:
    def __init__(self, page, number, lines, shell):
        self.page, self.number, self.lines, self.shell = page, number, lines, shell

    def first(self):
        return next((line.strip() for line in self.lines if line.strip()), '')

    def commands(self):
        """(command, the lines that the page shows as its output), in order. Of a fenced sh block each line is typed."""
        if self.shell:
            return [('\n'.join(self.lines), [])]
        prompts = any(re.match(r'[$#] ', line) for line in self.lines)
        out, more = [], False
        for line in self.lines:
            if more:
                out[-1] = (out[-1][0] + '\n' + line.strip(), [])
            elif re.match(r'[$#] ', line):
                out.append((line[2:], []))
            elif not prompts and line.strip():
                out.append((line.strip(), []))
            elif out and line.strip():
                out[-1][1].append(line)
                continue
            more = line.endswith('\\')
        return out


def markdown(path):
    blocks, fence, indented, before = [], None, None, ''
    with open(path, encoding='utf-8') as f:
        lines = f.read().split('\n')
    for number, line in enumerate(lines, 1):
        if fence:
            if line.startswith('```'):
                blocks.append(fence)
                fence = None
            else:
                fence.lines.append(line)
            continue
        if line.startswith('```'):
            fence = Block(path, number, [], line[3:].split()[:1] == ['sh'])
        elif line.startswith('    ') and (indented or not before.strip()):
            if not indented:
                indented = Block(path, number, [], False)
                blocks.append(indented)
            indented.lines.append(line[4:])
        elif line.strip():
            indented = None
        elif indented:
            indented.lines.append('')
        before = line
    return blocks


def manual(path):
    blocks, literal, last = [], None, 0
    with open(path, encoding='utf-8') as f:
        lines = f.read().split('\n')
    for number, line in enumerate(lines, 1):
        text = line.replace('\\(dq', '"').replace('\\e', '\\').replace('\\&', '')
        if line.startswith('.Bd -literal'):
            literal = Block(path, number, [], False)
            blocks.append(literal)
        elif line.startswith('.Ed'):
            literal = None
        elif literal:
            literal.lines.append(text)
        elif line.startswith('.Dl '):
            if last != number - 1:
                blocks.append(Block(path, number, [], False))
            blocks[-1].lines.append(text[4:])
            last = number
    return blocks


def pages(top='.'):
    found = ['README.md', 'lab/README.md', 'lab/exercises/README.md', 'CONTRIBUTING.md', 'tests/README.md']
    found += sorted(glob.glob('docs/*.md', root_dir=top) + glob.glob('docs/*.1', root_dir=top))
    return [p for p in found if os.path.exists(os.path.join(top, p))]


def blocks_of(page):
    return manual(page) if page.endswith('.1') else markdown(page)


class List:
    def __init__(self, path):
        self.rows, self.used = [], set()
        with open(path, encoding='utf-8') as f:
            for line in f:
                if line.strip() and not line.startswith('#'):
                    self.rows.append([c.strip() for c in line.rstrip('\n').split('\t') if c.strip()])

    def how(self, page, text):
        for i, row in enumerate(self.rows):
            if row[0] == page and fnmatch.fnmatchcase(text, row[1].replace('[', '[[]')):
                self.used.add(i)
                return row[2]
        return None

    def of(self, block, command):
        """How is @command of @block tested? Its own line counts before that of its block."""
        return self.how(block.page, command.split('\n')[0]) or self.how(block.page, block.first())


def check():
    known, bad = List(LIST), []
    for row in known.rows:
        if len(row) != 3 or not re.match(r'(typed|sh|host|text)$|(not|typed, other output): \w', row[2]):
            bad.append('%s: %s: expected PAGE, PATTERN and HOW' % (LIST, ' | '.join(row)))
    for page in pages() if not bad else []:
        for block in blocks_of(page):
            hows = [known.of(block, c) for c, _ in block.commands()] or [known.how(page, block.first())]
            where = '%s:%d: %s' % (page, block.number, block.first())
            if None in hows:
                bad.append(where + ': nobody runs it, and ' + LIST + ' does not say why')
            if 'text' in hows and (block.shell or any(re.match(r'\$ ', line) for line in block.lines)):
                bad.append(where + ': it has commands: "text" is not true')
    for i, row in enumerate(known.rows):
        if not bad and i not in known.used:
            bad.append('%s: %s: there is no such block' % (LIST, ' | '.join(row)))
    print('\n'.join(bad), end='\n' if bad else '')
    return 1 if bad else 0


def for_the_host():
    known = List(LIST)
    for page in pages():
        for block in blocks_of(page):
            for command, _ in block.commands():
                if known.of(block, command) == 'host':
                    print(page + '\t' + command)


if __name__ == '__main__':
    sys.exit(for_the_host() if sys.argv[1:] == ['host'] else check())
