# SPDX-License-Identifier: MIT
"""lab/cell.py - one pair of sites, once: when the first words, the relayed path, the direct one come.

The server is what a real one would be: a name, two IPv4 addresses (RFC 5780), one IPv6 address, and
TLS on port 443.
"""

import json
import time

import sites
from chat import Failure, Party, make_certificate, need_programs
from network import SECOND_IP, SERVER_IP, SERVER_IP6, SERVER_NAME, Lab

WORDS_WITHIN = 15.0  # s
DIRECT_WITHIN = 60.0  # s after the later start; a punch that failed is tried again after 30 or so
STAYS_RELAYED = 8.0  # s to watch a pair that physics gives to the relay
SETTLED = 0.5  # s that a path must last to be believed
SPEAK_EVERY = 0.5  # s, while the path is not direct yet


def open_party(lab):
    """A server as a real one is deployed, and a link to it by its name."""
    certificate, key = make_certificate(lab.directory(), SERVER_NAME)
    lab.name_the_server([SERVER_IP, SERVER_IP6])
    addresses = [f'{SERVER_IP}:3478', f'{SECOND_IP}:3478', f'[{SERVER_IP6}]:3478',
                 f'{SERVER_IP}:443', f'[{SERVER_IP6}]:443']
    return Party(lab, '--tls-cert', certificate, '--tls-key', key, addresses=addresses,
                 name=f'http://{SERVER_NAME}:3478')


def latest_path(chat):
    paths = chat.events('path')
    return paths[-1] if paths else None


def is_direct(chat):
    path = latest_path(chat)
    return path is not None and path['kind'] == 'direct'


def speak(alice, bob, count):
    for chat in (alice, bob):
        chat.say(f'{chat.name} says more: {count}')


def watch(alice, bob, limit):
    """Lets them talk until both paths have been direct for a moment, or `limit` is over."""
    count, direct_since, until = 0, None, bob.started + limit
    while time.monotonic() < until:
        now = time.monotonic()
        if not (is_direct(alice) and is_direct(bob)):
            direct_since = None
        elif direct_since is None:
            direct_since = now
        elif now - direct_since >= SETTLED:
            break
        if count == 0 or now >= speak_at:
            speak(alice, bob, count)
            count, speak_at = count + 1, now + SPEAK_EVERY
        time.sleep(0.05)


def first_of(chats, kind):
    """When both had a path of that kind; None if one never had."""
    times = [chat.events('path', kind=kind) for chat in chats]
    return max(events[0]['_at'] for events in times) if all(times) else None


def report(alice, bob, first, back):
    """What came when, in ms since Bob's start."""
    chats = (alice, bob)
    direct = [latest_path(chat) for chat in chats]
    is_both = all(path and path['kind'] == 'direct' for path in direct)
    times = {'first_words': first['_at'], 'words_back': back['_at'],
             'relayed': first_of(chats, 'relayed'),
             'direct': max(first_direct(chat) for chat in chats) if is_both else None}
    result = {key: value and round((value - bob.started) * 1000) for key, value in times.items()}
    result['paths'] = [path and {key: path.get(key) for key in
                                 ('kind', 'local', 'remote', 'candidate', 'transport', 'rtt_ms')}
                       for path in direct]
    result['transport'] = sorted({path['transport'] for path in direct if path})
    return result


def first_direct(chat):
    """When the direct path it has now began: since then it was never anything else."""
    since = None
    for path in chat.events('path'):
        since = (since or path['_at']) if path['kind'] == 'direct' else None
    return since


def converse(lab, party, hosts, limit):
    alice = party.join(hosts[0], 'Alice', 'Alice was here first.')
    alice.event('joined', timeout=WORDS_WITHIN)
    time.sleep(0.5)
    bob = party.join(hosts[1], 'Bob', 'Bob comes later.')
    first = alice.hears('Bob comes later.', timeout=WORDS_WITHIN)
    back = bob.hears('Alice was here first.', timeout=WORDS_WITHIN)
    watch(alice, bob, limit)
    result = report(alice, bob, first, back)
    speak(alice, bob, 'the end')
    for chat in (alice, bob):
        chat.delivered(timeout=WORDS_WITHIN)
    party.check_words()
    party.check_exits()
    return result


def attempt(name_a, name_b, seed=1, limit=None, **line):
    """Runs one pair once.  Always returns a result: 'failure' says what went wrong, 'missed'
    that they talked, but not directly as they should."""
    a, b = sites.KINDS[name_a], sites.KINDS[name_b]
    expected = sites.expect(a, b)
    if limit is None:
        limit = STAYS_RELAYED if expected.how == sites.RELAY else DIRECT_WITHIN
    result = {'a': name_a, 'b': name_b, 'seed': seed, 'expected': expected.how}
    with Lab(seed=seed * 1000) as lab:
        need_programs(lab)
        hosts = [kind.build(lab, name, line) for kind, name in ((a, 'alice'), (b, 'bob'))]
        with open_party(lab) as party:
            try:
                result.update(converse(lab, party, hosts, limit))
            except Failure as failure:
                result['failure'] = str(failure)
    if 'failure' not in result and expected.must and result['direct'] is None:
        result['missed'] = f'no direct path within {limit:g} s'
    return result


def run_once(options):
    result = attempt(options.a, options.b, options.seed, delay=options.delay,
                     jitter=options.jitter, loss=options.loss)
    if options.json:
        print(json.dumps(result))
    else:
        for key, value in result.items():
            print(f'{key:>12}: {value}')
    return 1 if 'failure' in result or 'missed' in result else 0
