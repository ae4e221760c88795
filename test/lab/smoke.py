# SPDX-License-Identifier: MIT
"""lab/smoke.py - the cases every commit must pass, with the real programs.  Under a minute."""

import contextlib
import os
import shutil
import subprocess
import tempfile
import time

from chat import Failure, Party, meet, need_programs, talk
from network import SECOND_IP, SERVER_IP, Lab

DELAY = 20  # ms, one way, of each site's line
DIRECT_WITHIN = 1.0  # s after the later start; the goal is 0.35 on a quiet machine
RELAYED_WITHIN = 1.0


@contextlib.contextmanager
def world(ipv6=False):
    with Lab(ipv6=ipv6) as lab:
        need_programs(lab)
        with Party(lab) as party:
            yield lab, party


def check_times(result):
    if result['direct'] is None:
        raise Failure('no direct path')
    if result['direct'] > DIRECT_WITHIN:
        raise Failure(f'the direct path took {result["direct"]:.2f} s')
    if result['first_via'] != 'signal':
        raise Failure('the first words waited for the channel')


def describe(result):
    times = [f'first words {result["first_words"] * 1000:.0f} ms']
    if result['direct'] is not None:
        times += [f'direct {result["direct"] * 1000:.0f} ms', f'open {result["open"] * 1000:.0f} ms']
    return ', '.join(times)


def finish(party, alice, bob, result):
    check_times(result)
    talk(alice, bob, 'Now directly', via='channel')
    party.check_words()
    party.check_exits()
    return describe(result)


def pair(kind_a, kind_b, **line):
    with world() as (lab, party):
        line = {'delay': DELAY, **line}
        a = lab.add_box('a', kind_a, **line).add_host('alice')
        b = lab.add_box('b', kind_b, **line).add_host('bob')
        return finish(party, *meet(party, a, b))


def port_restricted_pair():
    return pair('port-restricted', 'port-restricted-random')


def full_cone_and_port_restricted():
    return pair('full-cone', 'port-restricted')


def open_and_symmetric():
    return pair('open', 'symmetric-random')


def kernel_masquerade_pair():
    return pair('masquerade', 'masquerade')


def bare_kernel_masquerade_pair():
    return pair('masquerade-bare', 'masquerade-bare')


def one_nat_without_hairpin():
    with world() as (lab, party):
        home = lab.add_box('home', 'port-restricted', delay=DELAY)
        a, b = home.add_host('alice'), home.add_host('bob')
        alice, bob, result = meet(party, a, b)
        text = finish(party, alice, bob, result)
        for path in result['paths']:
            if not path['remote'].startswith('192.168.1.'):
                raise Failure(f'they meet at {path["remote"]}, not inside')
        return text


def double_nat():
    with world() as (lab, party):
        provider = lab.add_box('provider', 'cgn', delay=DELAY / 2)
        home = lab.add_box('home', 'port-restricted', parent=provider, delay=DELAY / 2)
        a = home.add_host('alice')
        b = lab.add_box('b', 'port-restricted', delay=DELAY).add_host('bob')
        return finish(party, *meet(party, a, b))


def ipv6_only_pair():
    with world(ipv6='only') as (lab, party):
        a = lab.add_box('a', 'symmetric-random', delay=DELAY).add_host('alice')
        b = lab.add_box('b', 'symmetric-random', delay=DELAY).add_host('bob')
        return finish(party, *meet(party, a, b))


def symmetric_pair_through_the_relay():
    with world() as (lab, party):
        a = lab.add_box('a', 'symmetric-random', delay=DELAY).add_host('alice')
        b = lab.add_box('b', 'symmetric-random', delay=DELAY).add_host('bob')
        alice, bob, result = meet(party, a, b)
        if result['direct'] is not None:
            raise Failure('a direct path, where physics allows none')
        paths = [chat.event('path', kind='relayed') for chat in (alice, bob)]
        took = max(path['_at'] for path in paths) - bob.started
        if took > RELAYED_WITHIN:
            raise Failure(f'the relayed path took {took:.2f} s')
        talk(alice, bob, 'Through the relay, sealed', via='channel')
        party.check_words()
        party.check_exits()
        return f'{describe(result)}, relayed {took * 1000:.0f} ms'


@contextlib.contextmanager
def coturn(lab, directory):
    """A coturn beside our server, with a secret in common; None where it is not installed."""
    program = shutil.which('turnserver')
    if program is None:
        yield None
        return
    secret = os.path.join(directory, 'secret')
    with open(secret, 'w', encoding='ascii') as file:
        file.write('between two servers\n')
    process = lab.start([program, '-n', '--use-auth-secret',
                         '--static-auth-secret=between two servers', '--realm=elsewhere',
                         '--no-tls', '--no-dtls', '-L', SECOND_IP, '-E', SECOND_IP, '-p', '3478',
                         '--no-cli', '--log-file=stdout', f'--pidfile={directory}/pid',
                         f'--userdb={directory}/db'], lab.internet.netns,
                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=directory)
    question = bytes.fromhex('000100002112a442') + b'are you here'
    with lab.socket_in(lab.internet.netns, SERVER_IP) as probe:
        probe.settimeout(0.2)
        for _ in range(50):
            try:
                probe.sendto(question, (SECOND_IP, 3478))
                if probe.recv(2048):
                    break
            except OSError:
                time.sleep(0.05)
        else:
            raise Failure('coturn does not answer')
    yield ('--turn-server', f'turn:{SECOND_IP}', '--turn-server-secret-file', secret)
    process.terminate()
    process.wait()


def symmetric_pair_through_a_coturn():
    with Lab() as lab, tempfile.TemporaryDirectory() as directory, \
            coturn(lab, directory) as options:
        need_programs(lab)
        if options is None:
            return 'not tried: there is no turnserver here'
        with Party(lab, *options) as party:
            a = lab.add_box('a', 'symmetric-random', delay=DELAY).add_host('alice')
            b = lab.add_box('b', 'symmetric-random', delay=DELAY).add_host('bob')
            alice, bob, result = meet(party, a, b)
            paths = [chat.event('path', kind='relayed') for chat in (alice, bob)]
            took = max(path['_at'] for path in paths) - bob.started
            for path in paths:
                relayed = path['local' if path['local_candidate'] == 'relay' else 'remote']
                if relayed.rsplit(':', 1)[0] != SECOND_IP:
                    raise Failure(f'relayed at {relayed}')
            if took > RELAYED_WITHIN:
                raise Failure(f'the relayed path took {took:.2f} s')
            for n in range(5):
                talk(alice, bob, f'Through the coturn, sealed, {n}', via='channel')
            party.check_words()
            party.check_exits()
            return f'{describe(result)}, relayed {took * 1000:.0f} ms'


def relay_only():
    """A path could be direct, but Alice wants nobody to know where she is."""
    with world() as (lab, party):
        server = lab.server_addresses[0].rsplit(':', 1)[0]
        a = lab.add_box('a', 'full-cone', delay=DELAY).add_host('alice')
        b = lab.add_box('b', 'full-cone', delay=DELAY).add_host('bob')
        a.count_strangers(server)
        alice = party.join(a, 'Alice', 'Alice was here first.', options=('--ice', 'relay'))
        alice.event('joined')
        bob = party.join(b, 'Bob', 'Bob comes later.')
        alice.hears('Bob comes later.')
        bob.hears('Alice was here first.')
        took = bob.event('path', kind='relayed')['_at'] - bob.started
        alice.opened()
        bob.opened()
        talk(alice, bob, 'Through the relay, hidden', via='channel')
        for path in bob.events('path'):
            if path['remote'].rsplit(':', 1)[0] != server:
                raise Failure(f'Bob talks to {path["remote"]}')
        party.check_words()
        party.check_exits()
        if a.strangers() > 0:
            raise Failure(f'Alice sent {a.strangers()} packets past the server')
        if took > RELAYED_WITHIN:
            raise Failure(f'the relayed path took {took:.2f} s')
        return f'relayed {took * 1000:.0f} ms, and Bob knows nothing of Alice but the relay'


def three_in_three_sites():
    with world() as (lab, party):
        hosts = [lab.add_box(name, kind, delay=DELAY).add_host(f'h{name}') for name, kind in
                 (('a', 'port-restricted'), ('b', 'port-restricted-random'), ('c', 'full-cone'))]
        chats = []
        for host, name in zip(hosts, ('Alice', 'Bob', 'Carol')):
            chats.append(party.join(host, name, f'{name} says hello.'))
        started = chats[-1].started
        last = max(chat.opened(2) for chat in chats) - started
        for chat in chats:
            chat.say(f'{chat.name} says more.')
        for chat in chats:
            for other in chats:
                if other is not chat:
                    chat.hears(f'{other.name} says more.')
                    chat.event('path', name=other.name, kind='direct')
        party.check_words()
        party.check_exits()
        if last > 2 * DIRECT_WITHIN:
            raise Failure(f'the third channel took {last:.2f} s')
        return f'all three channels open after {last * 1000:.0f} ms'


def thirty_percent_loss():
    with world() as (lab, party):
        # Two lines that lose 16 % each lose 30 % together.
        a, b = (lab.add_box(name, 'port-restricted', delay=DELAY, loss=0.163).add_host(f'h{name}')
                for name in 'ab')
        alice, bob, result = meet(party, a, b)
        for n in range(10):
            alice.say(f'Alice says {n}')
            bob.say(f'Bob says {n}')
            time.sleep(0.05)
        # Both stay until they know: an acknowledgement may be lost as often as a message, and who
        # leaves does not wait for it longer than two seconds.
        alice.delivered(timeout=30)
        bob.delivered(timeout=30)
        party.check_words()
        party.check_exits()
        return describe(result)


def server_killed():
    with world() as (lab, party):
        a = lab.add_box('a', 'port-restricted', delay=DELAY).add_host('alice')
        b = lab.add_box('b', 'port-restricted', delay=DELAY).add_host('bob')
        alice, bob, result = meet(party, a, b)
        check_times(result)
        party.server.kill()
        for n in range(3):
            talk(alice, bob, f'Without a server, {n}', via='channel')
            time.sleep(0.3)
        party.check_words()
        party.check_exits()
        return describe(result)


def nat_rebinds():
    with world() as (lab, party):
        box = lab.add_box('a', 'port-restricted-random', delay=DELAY)
        b = lab.add_box('b', 'port-restricted', delay=DELAY).add_host('bob')
        alice, bob, result = meet(party, box.add_host('alice'), b)
        check_times(result)
        talk(alice, bob, 'Before', via='channel')
        box.rebind()
        started = time.monotonic()
        bob.say('Are you there?')
        alice.say('Here I am.')
        alice.hears('Are you there?', timeout=40)
        bob.hears('Here I am.', timeout=40)
        took = time.monotonic() - started
        party.check_words()
        party.check_exits()
        return f'the conversation went on after {took:.1f} s'


CASES = (port_restricted_pair, full_cone_and_port_restricted, open_and_symmetric,
         one_nat_without_hairpin, double_nat, kernel_masquerade_pair, bare_kernel_masquerade_pair,
         ipv6_only_pair, symmetric_pair_through_the_relay,
         symmetric_pair_through_a_coturn, relay_only,
         three_in_three_sites, thirty_percent_loss, server_killed, nat_rebinds)


def smoke(names):
    failed = 0
    for case in CASES:
        if names and case.__name__ not in names:
            continue
        started = time.monotonic()
        try:
            verdict, text = 'ok  ', case()
        except Failure as failure:
            failed += 1
            verdict, text = 'FAIL', str(failure)
        print(f'{verdict}  {case.__name__}: {text}  ({time.monotonic() - started:.1f} s)',
              flush=True)
    return 1 if failed else 0
