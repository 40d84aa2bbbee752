#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Inside the lab: typed.py FOLDER PAGE...: types the commands of the pages in FOLDER that docs.list marks "typed" into an
interactive shell on a terminal, block by block, as a reader does, and leaves what has to be left. Each command ends with
status 0 (or what LEAVE says), and prints what the page shows: a line of "..." stands for any lines, a word with a digit
in it for any word, a line of a memory dump for any other one."""
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time

import doc_blocks

LIMIT = int(os.environ.get('LIMIT', '240'))  # seconds for a command; an emulated guest boots in 10 to 30
SHELL = r'trivm:[^\n]*# '

# What a page takes for granted, done before it by a shell that is not seen.
BEFORE = {
    'README.md': '''
        printf '#!/bin/sh\\nexec "$@"\\n' >bin/sudo
        mkdir -p /boot ~/linux
        cp /usr/local/lib/trivm/guest/vmlinuz /boot/vmlinuz-$(uname -r)
        cp /usr/local/lib/trivm/guest/initrd.img /boot/initrd.img-$(uname -r)
        cp /usr/local/lib/trivm/guest/initrd.img .
        cp /lab/put/cloud.vmlinux ~/linux/vmlinux
    ''',
    'docs/trivm-switch.1': 'cp /usr/local/lib/trivm/guest/vmlinuz /usr/local/lib/trivm/guest/initrd.img .',
    'docs/three-roads.md': './exercises/bin/lan',
    'docs/trivm.1': 'cp /usr/local/lib/trivm/guest/vmlinuz /usr/local/lib/trivm/guest/initrd.img .',
    'docs/probes.md': '''
        ./exercises/bin/lan
        trivm run --daemonize --name vm1 -p ip=off --net tap:tap0
        ./exercises/bin/ask vm1 'ip link set eth0 up; ip addr add 192.168.77.2/24 dev eth0'
    ''',
}

# What happens elsewhere while a command runs: [command, shell]
MEANWHILE = [
    (r'trivm trace web', "exercises/bin/ask web 'ping -c 60 10.0.2.2 >/dev/null &'"),
    (r'(trivm trace|docs/probes/)', "ping -c 30 -i 0.5 192.168.77.2"),
]

# Programs that have a terminal until the reader leaves: [command, [(what it shows, what is typed then)], status]
LEAVE = [
    (r'trivm run (?!.*(--exec|--daemonize|&$))', [(SHELL, 'echo $((40 + 2))\r'), (r'\n42\r*\n', '\x01x')], 123),
    (r'qemu-system', [(SHELL, 'ping -c 1 10.0.2.2 && poweroff\r'), (' 0% packet loss', '')], 0),
    (r'trivm console', [('', '\r'), (SHELL, '\x01x')], 0),
    (r'trivm top', [('(?i)exits', 'q')], 0),
    (r'(trivm compare|trivm-switch)(?!.*&$)', [('port|switch', '\x03')], 0),
]

passed = failed = 0


def verdict(name, why=''):
    global passed, failed
    passed, failed = passed + (not why), failed + bool(why)
    print('FAIL %s: %s' % (name, why) if why else 'ok   ' + name, flush=True)


class Shell:
    def __init__(self, folder):
        env = dict(os.environ, PS1='$ ', PS2='<more>', TERM='xterm', PATH=folder + '/bin:' + os.environ['PATH'],
                   PROMPT_COMMAND='printf "<<%s>>" $?', HISTFILE='', COLUMNS='200',
                   INPUTRC=folder + '/inputrc')
        with open(folder + '/inputrc', 'w', encoding='utf-8') as f:
            f.write('set enable-bracketed-paste off\n')
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.chdir(folder)
            os.execvpe('bash', ['bash', '--norc', '--noprofile', '-i'], env)
        self.text = ''
        if self.wait(r'<<\d+>>\$ ') is None:
            raise RuntimeError('the shell does not start: ' + self.text)

    def wait(self, pattern, limit=LIMIT):
        """What came up to the end of @pattern, which is taken; None: it did not come in time."""
        deadline = time.monotonic() + limit
        while True:
            found = re.search(pattern, self.text)
            if found:
                before, self.text = self.text[:found.end()], self.text[found.end():]
                return before
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.fd], [], [], left)[0]:
                return None
            try:
                data = os.read(self.fd, 65536)
            except OSError:
                data = b''
            if not data:
                return None
            self.text += data.decode('utf-8', 'replace')

    def keys(self, text):
        os.write(self.fd, text.encode())

    def type(self, command, steps):
        """Its output and status; the status is None if it does not come back."""
        out, lines = '', command.split('\n')
        for line in lines[:-1]:
            self.keys(line + '\r')
            part = self.wait(r'<more>|<<\d+>>\$ ')
            if part is None:
                return out + self.text, None
            out += part
            if re.search(r'<<[1-9]\d*>>\$ $', part):
                return out, int(re.findall(r'<<(\d+)>>', part)[-1])
        self.keys(lines[-1] + '\r')
        for pattern, answer in steps:
            part = self.wait(pattern)
            if part is None:
                return out + self.text, None
            out += part
            self.keys(answer)
        part = self.wait(r'<<\d+>>\$ ')
        if part is None:
            return out + self.text, None
        out += part
        return out, int(re.findall(r'<<(\d+)>>\$ $', out)[-1])

    def end(self):
        os.kill(self.pid, signal.SIGHUP)
        os.close(self.fd)
        os.waitpid(self.pid, 0)


def pattern_of(line):
    if re.match(r'[0-9a-f]{8}  ', line):
        return r'[0-9a-f]{8}  .*'
    words = [r'\S+' if re.search(r'\d', w) and not re.fullmatch(r'\d+', line.strip()) else re.escape(w) for w in line.split()]
    return r'\s*' + r'\s+'.join(words) + r'\s*'


def missing(shown, text):
    """The first line that the page shows and @text does not have, in that order."""
    lines, at = [line.rstrip() for line in text.replace('\r', '').split('\n')], 0
    for want in shown:
        if want.strip() == '...':
            continue
        while at < len(lines) and not re.fullmatch(pattern_of(want), lines[at]):
            at += 1
        if at == len(lines):
            return want.strip()
        at += 1
    return None


def one(shell, name, command, shown, how):
    steps, status = next(((s, st) for p, s, st in LEAVE if re.match(p, command.split('\n')[0])), ([], 0))
    noise = next((c for p, c in MEANWHILE if re.match(p, command)), None)
    other = subprocess.Popen(['sh', '-c', 'sleep 1; ' + noise], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) if noise else None
    text, got = shell.type(command, steps)
    if other:
        other.wait()
    why = ''
    if got is None:
        why = 'not done in %d s' % LIMIT
    elif got != status:
        why = 'status %d' % got
    elif not how.startswith('typed,') and missing(shown, text):
        why = 'the page shows: ' + missing(shown, text)
    if why:
        print('\n'.join('     | ' + line[:180] for line in text.replace('\r', '').split('\n')[-30:]))
    verdict(name, why)
    return got is not None


def clean():
    subprocess.run('''for g in $(trivm list | awk 'NR > 1 {print $1}'); do trivm ctl --name "$g" quit; done
        for p in $(pgrep -x trivm-switch; pgrep -x trivm); do kill $p; done
        for i in $(seq 100); do pgrep -x 'trivm|trivm-switch' || break; sleep 0.1; done
        for l in br0 tap0 tap1 tap2 quiet0; do ip link del $l; done''', shell=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def main():
    folder, known = os.path.abspath(sys.argv[1]), doc_blocks.List(sys.argv[1] + '/docs.list')
    for page in sys.argv[2:]:
        work = '/root/typed.' + os.path.basename(page)
        os.makedirs(work + '/bin')
        subprocess.run(['cp', '-r', folder + '/exercises', work], check=False)
        subprocess.run(['bash', '-ec', BEFORE.get(page, '')], cwd=work, check=True)
        subprocess.run('chmod +x bin/*', shell=True, cwd=work, stderr=subprocess.DEVNULL)
        shell = Shell(work)
        os.chdir(folder)
        blocks = doc_blocks.blocks_of(page)
        os.chdir(work)
        for block in blocks:
            for command, shown in block.commands():
                how = known.of(block, command) or ''
                name = '%s: %s' % (page, command.split('\n')[0][:90])
                if how.startswith('typed') and not one(shell, name, command, shown, how):
                    shell.end()
                    shell = Shell(work)
        shell.end()
        clean()
    print('COUNT %d %d' % (passed, failed))


main()
