#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""lab/portmap.py - a home router that grants ports (miniupnpd), and a symmetric peer outside."""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time

import network
from chat import Failure, Party, meet, need_programs, talk
from network import Lab
from router import GrantingBox

DELAY = 20  # ms, one way, of each site's line
LIFETIME = 600  # s, of a mapping; the longest it may outlive a killed program
SKIPPED = 77  # what Meson takes for "not here"

class World:
    """Alice behind a box that grants ports by these protocols, Bob behind a symmetric NAT."""

    def __init__(self, speaks):
        self.speaks = speaks

    def __enter__(self):
        with contextlib.ExitStack() as stack:
            directory = tempfile.mkdtemp(prefix='knothole-portmap-')
            stack.callback(shutil.rmtree, directory, ignore_errors=True)
            lab = stack.enter_context(Lab())
            need_programs(lab)
            self.party = stack.enter_context(Party(lab))
            self.box = GrantingBox(lab, 'a', directory, self.speaks, delay=DELAY)
            self.alice = self.box.add_host('alice')
            self.bob = lab.add_box('b', 'symmetric-random', delay=DELAY).add_host('bob')
            self.stack = stack.pop_all()
        return self

    def __exit__(self, *unused):
        self.stack.close()


def nobody_grants():
    """The control: without a granted port these two do not meet directly."""
    with World('') as world:
        alice, bob, result = meet(world.party, world.alice, world.bob)
        if result['direct'] is not None:
            raise Failure('they meet directly anyway: this lab proves nothing')
        talk(alice, bob, 'Through the server')
        world.party.check_words()
        world.party.check_exits()
        return 'not direct, as expected'


def granted(speaks):
    with World(speaks) as world:
        alice = world.party.join(world.alice, 'Alice', 'Alice was here first.')
        alice.event('joined', timeout=2)
        world.box.wait_for_mappings(1)
        took = time.monotonic() - alice.started
        left = world.box.leases()
        if len(left) != 1 or not 0 < left[0] <= LIFETIME + 1:
            raise Failure(f'the mapping ends in {left} s')
        bob = world.party.join(world.bob, 'Bob', 'Bob comes later.')
        path = bob.event('path', kind='direct', timeout=3)
        direct = path['_at'] - bob.started
        if not path['remote'].startswith(world.box.external + ':'):
            raise Failure(f'Bob reaches Alice at {path["remote"]}')
        for chat in (alice, bob):
            chat.opened()
        talk(alice, bob, 'Now directly', via='channel')
        world.party.check_words()
        world.party.check_exits()
        world.box.wait_for_mappings(0)
        return f'mapped after {took:.2f} s, direct after {direct * 1000:.0f} ms, gone at the end'


def by_pcp():
    return granted('pcp')


def by_upnp():
    return granted('upnp')


def killed():
    """Nobody gives the port back; it ends with its lifetime."""
    with World('pcp upnp') as world:
        alice = world.party.join(world.alice, 'Alice')
        world.box.wait_for_mappings(1)
        time.sleep(1.5)  # UPnP would have come by now: one port is enough
        alice.process.kill()
        alice.process.wait()
        left = world.box.leases()
        if len(left) != 1 or not 0 < left[0] <= LIFETIME + 1:
            raise Failure(f'the mapping ends in {left} s')
        return f'one mapping, which ends in {left[0]:.0f} s'


def main():
    network.stop_on_signals()
    why = network.why_impossible() or (None if shutil.which('miniupnpd')
                                       else 'miniupnpd is not installed')
    if why:
        print(f'skipped: {why}')
        return SKIPPED
    failed = 0
    for case in (nobody_grants, by_pcp, by_upnp, killed):
        if len(sys.argv) > 1 and case.__name__ not in sys.argv[1:]:
            continue
        try:
            verdict, text = 'ok  ', case()
        except (Failure, network.LabError, subprocess.SubprocessError) as failure:
            failed += 1
            verdict, text = 'FAIL', str(failure)
        print(f'{verdict}  {case.__name__}: {text}', flush=True)
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
