#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""lab/icetcp.py - where UDP is blocked, members reach each other by TCP: relayed first, then not."""

import contextlib
import sys
import time

import cases
import network
from chat import Failure, Party, need_programs
from network import Lab, run

DELAY = 20  # ms, one way, of each site's line
RELAYED_WITHIN = 2.0  # s after the later start
DIRECT_WITHIN = 15.0  # SYNs that must cross may need a few tries
PACE = 0.1  # s between the words that are said while the path moves


@contextlib.contextmanager
def sites(*kinds, blocked=2, ipv6=False):
    """A host behind a box of each kind; no UDP passes the first `blocked` of them."""
    with Lab(ipv6=ipv6) as lab:
        need_programs(lab)
        boxes = [lab.add_box(name, kind, delay=DELAY) for name, kind in zip('ab', kinds)]
        hosts = [box.add_host(f'h{box.name}') for box in boxes]
        for box in boxes[:blocked]:
            box.block_udp()
        with Party(lab) as party:
            yield party, boxes, hosts


def join(party, hosts, options=()):
    alice = party.join(hosts[0], 'Alice', options=options)
    alice.event('joined')
    time.sleep(0.5)
    return alice, party.join(hosts[1], 'Bob')


def say_until(alice, bob, is_done, limit, what):
    """Both talk on, until it is so."""
    until = time.monotonic() + limit
    while not is_done():
        if time.monotonic() > until:
            raise Failure(f'{what} did not come within {limit:g} s')
        for chat in (alice, bob):
            chat.say(f'{len(chat.said)}, says {chat.name}')
        time.sleep(PACE)


def latest(chat):
    paths = chat.events('path')
    return paths[-1] if paths else {}


def is_by_tcp(path):
    return path.get('kind') == 'direct' and path['transport'] == 'tcp'


def move_to_tcp(alice, bob):
    """The conversation begins through the relay and goes on directly; returns when, for each."""
    say_until(alice, bob, lambda: all(is_by_tcp(latest(chat)) for chat in (alice, bob)),
              DIRECT_WITHIN, 'a direct path by TCP')
    relayed = max(chat.events('path', kind='relayed')[0]['_at'] for chat in (alice, bob))
    direct = max(latest(chat)['_at'] for chat in (alice, bob))
    if relayed - bob.started > RELAYED_WITHIN:
        raise Failure(f'the relayed path took {relayed - bob.started:.2f} s')
    return relayed - bob.started, direct - bob.started


def finish(party, alice, bob, times):
    """Nothing was lost or doubled on the way."""
    for chat in (alice, bob):
        chat.delivered()
    party.check_words()
    party.check_exits()
    return 'relayed {:.0f} ms, direct by TCP {:.0f} ms, {} words'.format(
        *(took * 1000 for took in times), len(alice.said) + len(bob.said))


def meet(*kinds, **world):
    with sites(*kinds, **world) as (party, _, hosts):
        alice, bob = join(party, hosts)
        return finish(party, alice, bob, move_to_tcp(alice, bob))


def udp_blocked_against_open():
    return meet('port-restricted', 'open', blocked=1)


def udp_blocked_behind_symmetric_against_open():
    return meet('symmetric-random', 'open', blocked=1)


def udp_blocked_on_both_sides():
    """Filters on both sides: only SYNs that cross get through (simultaneous open)."""
    return meet('port-restricted', 'port-restricted-random')


def udp_blocked_behind_two_kernel_nats():
    return meet('masquerade', 'masquerade')


def udp_blocked_behind_two_kernel_nats_that_reset():
    """A SYN that comes too early is answered with a reset: tried again until two cross."""
    return meet('masquerade-bare', 'masquerade-bare')


def udp_blocked_behind_two_ipv6_firewalls():
    """Where IPv4 has no way, by TCP either."""
    return meet('symmetric-random', 'symmetric-random', ipv6=True)


def hidden_stays_hidden():
    """Who is to be known by no address connects to nobody, and nobody to it."""
    with sites('port-restricted', 'open') as (party, _, hosts):
        hosts[0].count_strangers(network.SERVER_IP)
        alice, bob = join(party, hosts, options=('--ice', 'relay'))
        for chat in (alice, bob):
            chat.event('path', kind='relayed')
        time.sleep(4)  # longer than anyone waits before it tries by TCP
        if any(chat.events('path', kind='direct') for chat in (alice, bob)):
            raise Failure('there is a direct path')
        if hosts[0].strangers() != 0:
            raise Failure(f'Alice sent {hosts[0].strangers()} packets to others than the server')
        alice.say('Nobody knows where I am.')
        bob.hears('Nobody knows where I am.')
        party.check_exits()
        return 'relayed, and no packet to anyone else'


RESETS = """table inet resets {{
    chain forward {{
        type filter hook forward priority 0;
        ip saddr {host} tcp sport {port} reject with tcp reset
    }}
}}
"""


def reset(box, text):
    run('nsenter', f'--net=/var/run/netns/{box.netns}', 'nft', '-f', '-', text=text)


def a_connection_is_reset():
    """A firewall that forgot the connection says so: the relay takes over, then another one."""
    with sites('port-restricted', 'open', blocked=1) as (party, boxes, hosts):
        alice, bob = join(party, hosts)
        times = move_to_tcp(alice, bob)
        lasting = time.monotonic() + 6  # what breaks sooner is left alone for longer
        say_until(alice, bob, lambda: time.monotonic() > lasting, 7, 'the time')
        port = latest(alice)['local'].rsplit(':', 1)[1]
        moves = len(alice.events('path'))
        began = time.monotonic()
        reset(boxes[0], RESETS.format(host=hosts[0].ip, port=port))
        say_until(alice, bob, lambda: len(alice.events('path')) > moves, 3, 'another path')
        if latest(alice).get('kind') != 'relayed':
            raise Failure(f'after the reset Alice has {latest(alice)}')
        took = latest(alice)['_at'] - began
        reset(boxes[0], 'delete table inet resets\n')
        say_until(alice, bob, lambda: is_by_tcp(latest(alice)), 10, 'another connection')
        return finish(party, alice, bob, times) + f', relayed {took * 1000:.0f} ms after the reset'


CASES = (udp_blocked_against_open, udp_blocked_behind_symmetric_against_open,
         udp_blocked_on_both_sides, udp_blocked_behind_two_kernel_nats,
         udp_blocked_behind_two_kernel_nats_that_reset, udp_blocked_behind_two_ipv6_firewalls,
         hidden_stays_hidden, a_connection_is_reset)


if __name__ == '__main__':
    sys.exit(cases.play(CASES))
