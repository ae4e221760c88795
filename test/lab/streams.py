#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""lab/streams.py - networks that let no UDP through: the server and its relay are reached anyway."""

import subprocess
import sys
import time

import network
from chat import Failure, Party, need_programs, talk
from network import Lab

DELAY = 20  # ms, one way, of each site's line
WITHIN = 2.0  # s after the later start: first words both ways, and a relayed path
SKIPPED = 77  # what Meson takes for "not here"


def meet_by_relay(party, host_a, host_b):
    """Alice, then Bob with his first words; what is said, both ways, and a relayed path in time."""
    alice = party.join(host_a, 'Alice', 'Alice was here first.')
    alice.event('joined')
    time.sleep(1)
    bob = party.join(host_b, 'Bob', 'Bob comes later.')
    words = max(alice.hears('Bob comes later.')['_at'], bob.hears('Alice was here first.')['_at'])
    paths = [chat.event('path', kind='relayed') for chat in (alice, bob)]
    opened = max(alice.opened(), bob.opened())
    times = [at - bob.started for at in (words, max(path['_at'] for path in paths), opened)]
    for what, took in zip(('first words', 'the relayed path', 'the channel'), times):
        if took > WITHIN:
            raise Failure(f'{what} took {took:.2f} s')
    return alice, bob, paths, 'words {:.0f} ms, relayed {:.0f} ms, open {:.0f} ms'.format(
        *(took * 1000 for took in times))


def check_transports(paths, *expected):
    """By what each reaches the relay, if the path that came first goes through its own relay."""
    for path, transport in zip(paths, expected):
        if path['candidate'] != 'relay' or path['transport'] != transport:
            raise Failure(f'the path is {path}, not relayed by {transport}')


def finish(party, alice, bob, text):
    talk(alice, bob, 'Through the relay, sealed', via='channel')
    party.check_words()
    party.check_exits()
    return text


def without_udp(both):
    with Lab() as lab:
        need_programs(lab)
        boxes = [lab.add_box(name, 'port-restricted', delay=DELAY) for name in 'ab']
        hosts = [box.add_host(f'h{box.name}') for box in boxes]
        for box in boxes[:2 if both else 1]:
            box.block_udp()
        with Party(lab) as party:
            alice, bob, paths, text = meet_by_relay(party, *hosts)
            if both:
                check_transports(paths, 'tcp', 'tcp')
            elif paths[0]['transport'] != 'tcp':
                raise Failure(f'without UDP, Alice has {paths[0]}')
            return finish(party, alice, bob, text)


def udp_blocked_on_one_side():
    return without_udp(both=False)


def udp_blocked_on_both_sides():
    return without_udp(both=True)


CASES = (udp_blocked_on_one_side, udp_blocked_on_both_sides)


def main():
    network.stop_on_signals()
    why = network.why_impossible()
    if why:
        print(f'skipped: {why}')
        return SKIPPED
    failed = 0
    for case in CASES:
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
