# SPDX-License-Identifier: MIT
"""lab/chat.py - runs knotholed and `knothole chat --json` inside a lab, with a stopwatch."""

import collections
import functools
import json
import os
import re
import shutil
import subprocess
import tempfile
import threading
import time

from network import run


class Failure(Exception):
    """The programs did not do what the lab expects."""


@functools.lru_cache(maxsize=10000)
def parsed(line):
    """An event; nobody may change it."""
    return json.loads(line)


class Lines(threading.Thread):
    """Collects the lines of a stream, each with the time it came."""

    def __init__(self, stream, news):
        super().__init__(daemon=True)
        self.stream, self.news = stream, news
        self.lines = []
        self.start()

    def run(self):
        for line in self.stream:
            with self.news:
                self.lines.append((time.monotonic(), line.rstrip('\n')))
                self.news.notify_all()
        with self.news:
            self.news.notify_all()


class Program:
    """A program in a namespace whose output is watched."""

    def __init__(self, lab, netns, command):
        self.news = threading.Condition()
        self.started = time.monotonic()
        self.process = lab.start(command, netns, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                 stderr=subprocess.PIPE, text=True, bufsize=1)
        self.out = Lines(self.process.stdout, self.news)
        self.err = Lines(self.process.stderr, self.news)

    def wait(self, find, what, timeout=10.0):
        """Waits until find() returns something true, and returns it."""
        until = time.monotonic() + timeout
        with self.news:
            while True:
                found = find()
                if found:
                    return found
                left = until - time.monotonic()
                if left <= 0:
                    raise Failure(f'{what} did not come within {timeout:g} s{self.last_words()}')
                self.news.wait(left)

    def last_words(self):
        said = [line for _, line in self.err.lines[-8:]]
        return ''.join(f'\n      {line}' for line in said)


def make_certificate(folder, name='example.org'):
    files = [os.path.join(folder, file) for file in ('certificate.pem', 'key.pem')]
    run('openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes',
        '-days', '2', '-subj', f'/CN={name}', '-out', files[0], '-keyout', files[1])
    return files


class Server(Program):
    """One knotholed on the internet."""

    def __init__(self, lab, *options, addresses=None):
        command = [lab.program('knotholed'), *options]
        for address in addresses or lab.server_addresses:
            command += ['--listen', address]
        super().__init__(lab, lab.internet.netns, command)
        self.address = self.wait(self.find_address, 'knotholed ready')

    def find_address(self):
        """The first address it says it serves."""
        for _, line in self.err.lines:
            ready = re.match(r'knotholed ready on (\S+:\d+)', line)
            if ready:
                return ready.group(1)
        return None

    def says(self, text):
        self.wait(lambda: any(text in line for _, line in self.err.lines), f'knotholed: {text}')

    def kill(self):
        self.process.kill()
        self.process.wait()


class Chat(Program):
    """One `knothole chat --json`."""

    def __init__(self, party, host, name, *words, options=()):
        self.party, self.host, self.name = party, host, name
        command = [party.lab.program('knothole'), 'chat', party.link, '--name', name, '--json',
                   '--linger', '10', '--log-level', 'info', '--state',
                   os.path.join(party.directory, name), *options]
        super().__init__(party.lab, host.netns, command)
        self.said = []
        for word in words:
            self.say(word)

    def say(self, text):
        self.said.append(text)
        self.process.stdin.write(text + '\n')
        self.process.stdin.flush()

    def events(self, event_kind, /, **fields):
        """All events of that kind so far, each with its time as '_at'."""
        found = []
        for at, line in self.out.lines:
            event = parsed(line)
            if event['event'] == event_kind and all(event.get(k) == v for k, v in fields.items()):
                found.append({**event, '_at': at})
        return found

    def event(self, event_kind, /, timeout=10.0, **fields):
        """Waits for the first event of that kind."""
        what = f'{self.name}: {event_kind} {fields or ""}'
        return self.wait(lambda: self.events(event_kind, **fields), what, timeout)[0]

    def hears(self, text, timeout=10.0):
        return self.event('message', timeout, text=text)

    def delivered(self, timeout=10.0):
        """Waits until it knows that the others have all it said."""
        count = len(self.said) * (len(self.party.chats) - 1)
        self.wait(lambda: len(self.events('delivered')) >= count, f'{self.name}: delivered', timeout)

    def opened(self, count=1, timeout=10.0):
        """Waits until `count` channels are open; returns the time of the last."""
        def find():
            times = [at for at, line in self.err.lines if re.search(r'channel .*→open', line)]
            return times[count - 1:count]
        return self.wait(find, f'{self.name}: open channel', timeout)[0]

    def leave(self, timeout=15.0):
        """Ends its input and waits for its exit code."""
        self.process.stdin.close()
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise Failure(f'{self.name} does not end{self.last_words()}') from None

    def heard(self):
        return collections.Counter(event['text'] for event in self.events('message'))


class Party:
    """A server, a link and those who chat by it."""

    def __init__(self, lab, *options, addresses=None, name=None):
        self.lab, self.chats = lab, []
        self.server = Server(lab, *options, addresses=addresses)
        self.link = run(lab.program('knothole'), 'new', name or self.server.address).strip()
        self.directory = tempfile.mkdtemp(prefix='knothole-lab-')

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        shutil.rmtree(self.directory, ignore_errors=True)

    def join(self, host, name, *words, options=()):
        chat = Chat(self, host, name, *words, options=options)
        self.chats.append(chat)
        return chat

    def check_words(self):
        """Everyone heard everything of everyone else exactly once, in order."""
        for chat in self.chats:
            for other in self.chats:
                if other is chat:
                    continue
                heard = [event['text'] for event in chat.events('message', name=other.name)]
                if heard != other.said:
                    raise Failure(f'{chat.name} heard of {other.name}: {heard}, not {other.said}')

    def check_exits(self):
        for chat in self.chats:
            code = chat.leave()
            if code != 0:
                raise Failure(f'{chat.name} ends with {code}{chat.last_words()}')


def meet(party, host_a, host_b, options=()):
    """Alice, then Bob with his first words; returns what happened in seconds after Bob's start."""
    alice = party.join(host_a, 'Alice', 'Alice was here first.', options=options)
    alice.event('joined')
    time.sleep(0.3)
    bob = party.join(host_b, 'Bob', 'Bob comes later.', options=options)
    first = alice.hears('Bob comes later.')
    back = bob.hears('Alice was here first.')
    result = {'first_words': first['_at'] - bob.started, 'first_via': first['via'],
              'words_back': back['_at'] - bob.started}
    try:
        paths = [chat.event('path', kind='direct', timeout=3) for chat in (alice, bob)]
    except Failure:
        return alice, bob, {**result, 'direct': None, 'open': None}
    opened = [chat.opened() for chat in (alice, bob)]
    result['direct'] = max(path['_at'] for path in paths) - bob.started
    result['open'] = max(opened) - bob.started
    result['paths'] = paths
    return alice, bob, result


def talk(alice, bob, words, via=None):
    """Each says one thing more; both must hear, by that carrier if one is given."""
    for chat, other, text in ((alice, bob, f'{words}, says Alice'), (bob, alice,
                                                                     f'{words}, says Bob')):
        chat.say(text)
        event = other.hears(text)
        if via and event['via'] != via:
            raise Failure(f'"{text}" came by {event["via"]}')


def need_programs(lab):
    for program in ('knothole', 'knotholed'):
        lab.program(program)

