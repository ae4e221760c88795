#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""lab/mdns.py - two machines on one link that tell names instead of addresses (avahi-daemon)."""

import contextlib
import os
import shutil
import sys

import cases
from chat import Failure, Party, Program, need_programs, talk
from network import Lab

DELAY = 20  # ms, one way
DIRECT_WITHIN = 3.0  # s after the later start; about 0.25 on a quiet machine

CONFIG = """[server]
host-name={name}
enable-dbus=no
allow-interfaces=eth0
[publish]
publish-workstation=no
"""


class Responder(Program):
    """avahi-daemon in a host's namespace, with a /run of its own: it believes to be alone."""

    def __init__(self, lab, host, name):
        path = os.path.join(lab.directory(), 'avahi-daemon.conf')
        with open(path, 'w', encoding='ascii') as file:
            file.write(CONFIG.format(name=name))
        script = ('mount -t tmpfs run /run && mkdir /run/avahi-daemon && '
                  f'exec avahi-daemon --no-drop-root --no-chroot --no-rlimits -f {path}')
        super().__init__(lab, host.netns, ['unshare', '--mount', 'sh', '-c', script])
        self.wait(self.is_ready, f'avahi-daemon for {name}')

    def is_ready(self):
        return any('startup complete' in line for _, line in self.err.lines)


@contextlib.contextmanager
def one_home():
    """A router that does not hairpin: addresses seen outside lead nowhere inside."""
    with Lab() as lab:
        need_programs(lab)
        home = lab.add_box('home', 'port-restricted', delay=DELAY)
        with Party(lab) as party:
            yield lab, party, [home.add_host(name) for name in ('alice', 'bob')]


def join_hidden(party, hosts):
    """Both tell their machines' names only."""
    alice = party.join(hosts[0], 'Alice', 'Alice was here first.',
                       options=['--local-name', 'alice-pc.local'])
    alice.event('joined')
    bob = party.join(hosts[1], 'Bob', 'Bob comes later.',
                     options=['--local-name', 'bob-pc.local'])
    alice.hears('Bob comes later.')
    bob.hears('Alice was here first.')
    return alice, bob


def names_are_found():
    with one_home() as (lab, party, hosts):
        for host, name in zip(hosts, ('alice-pc', 'bob-pc')):
            Responder(lab, host, name)
        alice, bob = join_hidden(party, hosts)
        paths = [chat.event('path', kind='direct') for chat in (alice, bob)]
        took = max(path['_at'] for path in paths) - bob.started
        for path in paths:
            if not path['remote'].startswith('192.168.1.'):
                raise Failure(f'they meet at {path["remote"]}, not on the link')
        if took > DIRECT_WITHIN:
            raise Failure(f'the direct path took {took:.2f} s')
        for chat in (alice, bob):
            chat.opened()
        talk(alice, bob, 'By our names')
        party.check_words()
        party.check_exits()
        return f'direct after {took * 1000:.0f} ms'


def names_nobody_answers_to():
    """The control: nothing else leads from one to the other, and nobody waits for that."""
    with one_home() as (_lab, party, hosts):
        alice, bob = join_hidden(party, hosts)
        paths = [chat.event('path', kind='relayed') for chat in (alice, bob)]
        talk(alice, bob, 'Through the relay')
        if any(chat.events('path', kind='direct') for chat in (alice, bob)):
            raise Failure('they meet directly anyway: this lab proves nothing')
        party.check_words()
        party.check_exits()
        took = max(path['_at'] for path in paths) - bob.started
        return f'relayed after {took * 1000:.0f} ms, as expected'


if __name__ == '__main__':
    sys.exit(cases.play((names_are_found, names_nobody_answers_to),
                        None if shutil.which('avahi-daemon') else
                        'avahi-daemon is not installed'))
