# SPDX-License-Identifier: MIT
"""lab/times.py - one pair of boxes, measured: when the first words, the path, the channel come."""

import json
import statistics

from chat import Failure, Party, meet, need_programs, talk
from network import Lab

PAIRS = (('port-restricted', 'port-restricted'), ('full-cone', 'port-restricted'),
         ('open', 'symmetric-random'), ('masquerade', 'masquerade'),
         ('symmetric-random', 'symmetric-random'))


def measure(kind_a, kind_b, seed=1, **line):
    """Returns what happened between two sites; times in ms since Bob's start."""
    with Lab(seed=seed) as lab:
        need_programs(lab)
        a = lab.add_box('a', kind_a, **line).add_host('alice')
        b = lab.add_box('b', kind_b, **line).add_host('bob')
        with Party(lab) as party:
            alice, bob, result = meet(party, a, b)
            talk(alice, bob, 'More')
            party.check_words()
            party.check_exits()
    paths = result.pop('paths', [])
    for key in ('first_words', 'words_back', 'direct', 'open'):
        result[key] = result[key] and round(result[key] * 1000, 1)
    if paths:
        result['hole'] = [f'{path["local"]} > {path["remote"]} ({path["candidate"]})'
                          for path in paths]
    return {'a': kind_a, 'b': kind_b, **line, **result}


def run_once(options):
    try:
        result = measure(options.a, options.b, options.seed, delay=options.delay,
                         jitter=options.jitter, loss=options.loss)
    except Failure as failure:
        result = {'a': options.a, 'b': options.b, 'failure': str(failure)}
    if options.json:
        print(json.dumps(result))
    else:
        for key, value in result.items():
            print(f'{key:>12}: {value}')
    return 1 if 'failure' in result else 0


def cell(values, round_trip):
    known = [value for value in values if value is not None]
    if not known:
        return '-'
    middle = statistics.median(known)
    return f'{middle:.0f} ms = {middle / round_trip:.1f}'


def table(options):
    round_trip = 2 * options.delay
    print(f'Median of {options.tries}, in ms and in round trips of {round_trip:g} ms to the server,'
          f' since the later start:\n')
    row = '{:<36}{:<18}{:<18}{:<18}'
    print(row.format('', 'first words', 'direct path', 'channel open'))
    for kind_a, kind_b in PAIRS:
        results = [measure(kind_a, kind_b, seed, delay=options.delay)
                   for seed in range(options.tries)]
        cells = [cell([result[key] for result in results], round_trip)
                 for key in ('first_words', 'direct', 'open')]
        print(row.format(f'{kind_a} x {kind_b}', *cells), flush=True)
    return 0
