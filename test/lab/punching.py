#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""lab/punching.py - one pair of each way to punch a hole, all at the same time, with the real programs.

A birthday may fail once in three thousand tries, and is tried again half a minute later; so a pair that
is late once gets a second try before it counts as a failure.
"""

import concurrent.futures
import sys

import network
from chat import Failure
from matrix import Runner

DELAY = 20  # ms, one way, of each site's line
TRIES = 2
SKIPPED = 77  # what Meson takes for "not here"

PAIRS = (
    ('port-restricted', 'symmetric-random'),  # 256 sockets, and probes of all ports
    ('port-restricted', 'symmetric-sequential'),  # ports that are foretold
    ('symmetric-sequential', 'symmetric-sequential'),  # on both sides
    ('address-dependent', 'symmetric-random'),  # each probe from another port
    ('port-restricted', 'symmetric-block'),  # 64 sockets in a block of ports
)


def check(result):
    if 'failure' in result:
        raise Failure(result['failure'])
    if result['direct'] is None:
        raise Failure(f'no direct path; relayed after {result["relayed"]} ms')
    if result['relayed'] is None or result['relayed'] > result['direct']:
        raise Failure('the conversation did not begin by the relay')
    learned = [path['candidate'] for path in result['paths']]
    if not any('prflx' in candidate for candidate in learned):
        raise Failure(f'a path without a learned address: {learned}')
    return f'relayed after {result["relayed"]} ms, direct after {result["direct"]} ms'


def punch(runner, pair):
    """Returns whether it worked, and a line about it."""
    for seed in range(1, TRIES + 1):
        try:
            return True, f'ok    {" x ".join(pair)}: {check(runner.attempt(*pair, seed))}'
        except Failure as failure:
            text = str(failure)
    return False, f'FAIL  {" x ".join(pair)}: {text}'


def main():
    network.stop_on_signals()
    why = network.why_impossible()
    if why:
        print(f'skipped: {why}')
        return SKIPPED
    runner = Runner(DELAY)
    failed = 0
    with concurrent.futures.ThreadPoolExecutor(len(PAIRS)) as pool:
        for works, text in pool.map(lambda pair: punch(runner, pair), PAIRS):
            failed += not works
            print(text, flush=True)
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
