#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""lab/portmap.py - a home router that grants ports (miniupnpd), and a symmetric peer outside."""

import contextlib
import os
import shutil
import sys
import time

import cases
from chat import Failure, Party, meet, need_programs, talk
from network import Lab
from router import GrantingBox

DELAY = 20  # ms, one way, of each site's line
LIFETIME = 600  # s, of a mapping; the longest it may outlive a killed program
SHORT_LIFETIME = 10  # s
DIRECT_WITHIN = 1.5  # s after the later start; about 0.25 on a quiet machine
UPNP_WITHIN = 4.0  # s: miniupnpc searches for a router for one, whatever it finds


class World:
    """Alice behind a box that grants ports by these protocols, Bob behind a symmetric NAT."""

    def __init__(self, speaks, **limits):
        self.speaks, self.limits = speaks, limits

    def __enter__(self):
        with contextlib.ExitStack() as stack:
            lab = stack.enter_context(Lab())
            need_programs(lab)
            self.party = stack.enter_context(Party(lab))
            self.box = GrantingBox(lab, 'a', lab.directory(), self.speaks, delay=DELAY,
                                   **self.limits)
            self.alice = self.box.add_host('alice')
            self.bob = lab.add_box('b', 'symmetric-random', delay=DELAY).add_host('bob')
            self.stack = stack.pop_all()
        return self

    def __exit__(self, *unused):
        self.stack.close()


def nobody_grants():
    """The control: without a granted port, and without guessing any, they do not meet directly."""
    with World('') as world:
        alice, bob, result = meet(world.party, world.alice, world.bob, ['--no-punching'])
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
        if direct > DIRECT_WITHIN:
            raise Failure(f'the direct path took {direct:.2f} s')
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


def killed_and_forgotten():
    """The same with a router that grants ten seconds at most: it renews, then really ends."""
    with World('pcp', longest=SHORT_LIFETIME) as world:
        alice = world.party.join(world.alice, 'Alice')
        world.box.wait_for_mappings(1)
        time.sleep(SHORT_LIFETIME + 3)
        world.box.wait_for_mappings(1, timeout=0)
        alice.process.kill()
        alice.process.wait()
        killed_at = time.monotonic()
        world.box.wait_for_mappings(0, timeout=SHORT_LIFETIME + 5)
        return (f'renewed while Alice lived, gone {time.monotonic() - killed_at:.0f} s after her '
                f'death')


class Carrier:
    """Two homes in the NAT of one carrier, whose inside routes between them and whose outside
    draws a port for each destination and does not hairpin: what the server sees is of no use."""

    def __init__(self, speaks):
        self.speaks = speaks

    def __enter__(self):
        with contextlib.ExitStack() as stack:
            lab = stack.enter_context(Lab())
            need_programs(lab)
            self.party = stack.enter_context(Party(lab))
            carrier = lab.add_box('carrier', 'symmetric-random', delay=DELAY / 2)
            self.homes = [GrantingBox(lab, name, lab.directory(), self.speaks, parent=carrier,
                                      delay=DELAY / 2) for name in ('a', 'b')]
            self.hosts = [home.add_host(name) for home, name in zip(self.homes, ('alice', 'bob'))]
            self.stack = stack.pop_all()
        return self

    def __exit__(self, *unused):
        self.stack.close()


def carrier_without_grants():
    """The control: nothing leads from home to home."""
    with Carrier('') as world:
        alice, bob, result = meet(world.party, *world.hosts)
        if result['direct'] is not None:
            raise Failure('they meet directly anyway: this lab proves nothing')
        talk(alice, bob, 'Through the server')
        world.party.check_words()
        world.party.check_exits()
        return 'not direct, as expected'


def inside_a_carrier(speaks):
    with Carrier(speaks) as world:
        alice, bob, result = meet(world.party, *world.hosts)
        within = DIRECT_WITHIN if speaks == 'pcp' else UPNP_WITHIN
        if result['direct'] is None or result['direct'] > within:
            raise Failure(f'the direct path took {result["direct"]} s')
        outsides = [home.external + ':' for home in world.homes]
        for path in result['paths']:
            if not path['remote'].startswith(tuple(outsides)):
                raise Failure(f'they meet at {path["remote"]}, not inside the carrier')
        talk(alice, bob, 'Between neighbours', via='channel')
        world.party.check_words()
        world.party.check_exits()
        for home in world.homes:
            home.wait_for_mappings(0)
        return f'direct after {result["direct"] * 1000:.0f} ms, inside the carrier'


def inside_a_carrier_by_pcp():
    return inside_a_carrier('pcp')


def inside_a_carrier_by_upnp():
    return inside_a_carrier('upnp')


CASES = (nobody_grants, by_pcp, by_upnp, killed, killed_and_forgotten, carrier_without_grants,
         inside_a_carrier_by_pcp, inside_a_carrier_by_upnp)


if __name__ == '__main__':
    sys.exit(cases.play(CASES, None if shutil.which('miniupnpd') else
                        'miniupnpd is not installed'))
