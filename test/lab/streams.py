#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""lab/streams.py - networks that let no UDP through: the server and its relay are reached anyway."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time

import cases
import network
from chat import Failure, Party, Server, make_certificate, need_programs, talk
from network import Lab, run

DELAY = 20  # ms, one way, of each site's line
WITHIN = 2.0  # s after the later start: first words both ways, and a relayed path
AT_ONCE = 3
AWAY = 6  # s, a server that is restarted, a line that is cut
BACK_WITHIN = 3.0  # s after the return


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


# ---- only 443 is open ----

@contextlib.contextmanager
def tls_world(closed, plain, server=f'{network.SERVER_IP}:3478'):
    """Two sites, the first `closed` of which have nothing but 443, and a server that serves it.

    The link says port 3478: who cannot get there has to find 443 by itself."""
    with Lab() as lab, tempfile.TemporaryDirectory(prefix='knothole-lab-') as folder:
        need_programs(lab)
        certificate, key = make_certificate(folder)
        boxes = [lab.add_box(name, 'port-restricted', delay=DELAY) for name in 'ab']
        hosts = [box.add_host(f'h{box.name}') for box in boxes]
        for box in boxes[:closed]:
            box.pass_only_tls(plain)
        options = '--tls-cert', certificate, '--tls-key', key
        addresses = [f'{network.SERVER_IP}:3478', f'{network.SERVER_IP}:443']
        with Party(lab, *options, addresses=addresses, name=server) as party:
            party.folder = folder
            party.start_server = lambda: Server(lab, *options, addresses=addresses)
            yield party, hosts


def only_443(closed, plain, **world):
    with tls_world(closed, plain, **world) as (party, hosts):
        alice, bob, paths, text = meet_by_relay(party, *hosts)
        if paths[0]['transport'] != 'tls':
            raise Failure(f'with nothing but TLS, Alice has {paths[0]}')
        if closed == 2:
            check_transports(paths, 'tls', 'tls')
        return finish(party, alice, bob, text)


def only_443_on_one_side():
    return only_443(1, 'drop')


def only_443_on_both_sides():
    return only_443(2, 'drop')


def https_link_plain_is_swallowed():
    """By such a link plain TCP is tried at 443 too, where it can connect, and is heard no more."""
    return only_443(2, 'drop', server=f'https://{network.SERVER_IP}')


def https_link_plain_is_reset():
    return only_443(2, 'reject with tcp reset', server=f'https://{network.SERVER_IP}')


def subject(party, host):
    """The name in the certificate that the server shows now."""
    done = subprocess.run(
        ['nsenter', f'--net=/var/run/netns/{host.netns}', 'openssl', 's_client', '-connect',
         f'{network.SERVER_IP}:443', '-alpn', 'stun.turn'],
        input=b'', capture_output=True, timeout=10, check=False)
    text = done.stdout.decode(errors='replace')
    if 'ALPN protocol: stun.turn' not in text:
        raise Failure('openssl s_client is not served stun.turn')
    return text.split('subject=')[1].splitlines()[0].replace(' ', '')


def certificate_is_reloaded():
    with tls_world(2, 'drop') as (party, hosts):
        alice, bob, _, text = meet_by_relay(party, *hosts)
        shown = [subject(party, hosts[0])]
        make_certificate(party.folder, 'new.example.org')
        party.server.process.send_signal(signal.SIGHUP)
        party.server.says('new connections get the certificate')
        shown.append(subject(party, hosts[0]))
        with open(os.path.join(party.folder, 'key.pem'), 'w', encoding='ascii') as file:
            file.write('no key')
        party.server.process.send_signal(signal.SIGHUP)
        party.server.says('the certificate stays as it was')
        shown.append(subject(party, hosts[0]))
        if shown != ['CN=example.org', 'CN=new.example.org', 'CN=new.example.org']:
            raise Failure(f'the certificates are {shown}')
        for chat in (alice, bob):
            if len(chat.events('joined')) != 1 or len(chat.events('path')) != 1:
                raise Failure(f'{chat.name} lost its connection')
        return finish(party, alice, bob, text)


def connection_breaks():
    """The boxes forget all mappings: the connections to server and relay are made anew."""
    with tls_world(2, 'drop') as (party, hosts):
        alice, bob, _, _ = meet_by_relay(party, *hosts)
        talk(alice, bob, 'Before', via='channel')
        for host in hosts:
            host.box.rebind()
        started = time.monotonic()
        talk(alice, bob, 'After')
        words = time.monotonic() - started
        for chat in (alice, bob):
            chat.wait(lambda chat=chat: len(chat.events('path', kind='relayed')) >= 2,
                      f'{chat.name}: another relayed path')
        relayed = time.monotonic() - started
        return finish(party, alice, bob,
                      f'words after {words * 1000:.0f} ms, relayed after {relayed * 1000:.0f} ms')


def line_is_cut():
    """A connection whose bytes nobody acknowledges is left long before the system gives it up."""
    with tls_world(2, 'drop') as (party, hosts):
        alice, bob, _, _ = meet_by_relay(party, *hosts)
        talk(alice, bob, 'Before', via='channel')
        box = hosts[0].box
        nft = 'nsenter', f'--net=/var/run/netns/{box.netns}', 'nft', '-f', '-'
        run(*nft, text='table inet cut {\nchain f { type filter hook forward priority -10; drop; }\n'
                       '}\n')
        alice.say('In the dark, says Alice')
        time.sleep(AWAY)
        run(*nft, text='delete table inet cut\n')
        mended = time.monotonic()
        bob.hears('In the dark, says Alice')
        talk(alice, bob, 'After')
        words = time.monotonic() - mended
        if words > BACK_WITHIN:
            raise Failure(f'words came {words:.2f} s after the line was mended')
        for chat in (alice, bob):
            chat.wait(lambda chat=chat: len(chat.events('path', kind='relayed')) >= 2,
                      f'{chat.name}: another relayed path')
        relayed = time.monotonic() - mended
        return finish(party, alice, bob,
                      f'words after {words * 1000:.0f} ms, relayed after {relayed * 1000:.0f} ms')


def server_restarts():
    with tls_world(2, 'drop') as (party, hosts):
        alice, bob, _, _ = meet_by_relay(party, *hosts)
        talk(alice, bob, 'Before', via='channel')
        party.server.kill()
        alice.say('Is anybody there, asks Alice')
        time.sleep(AWAY)
        party.server = party.start_server()
        started = time.monotonic()
        bob.hears('Is anybody there, asks Alice')
        talk(alice, bob, 'After')
        words = time.monotonic() - started
        for chat in (alice, bob):
            chat.wait(lambda chat=chat: len(chat.events('path', kind='relayed')) >= 2,
                      f'{chat.name}: another relayed path')
        relayed = time.monotonic() - started
        if relayed > BACK_WITHIN:
            raise Failure(f'words came after {words:.2f} s, a path after {relayed:.2f} s')
        return finish(party, alice, bob,
                      f'words after {words * 1000:.0f} ms, relayed after {relayed * 1000:.0f} ms')


def ask_doctor(party, host, server):
    done = subprocess.run(
        ['nsenter', f'--net=/var/run/netns/{host.netns}', party.lab.program('knothole'), 'doctor',
         server, '--json'], capture_output=True, text=True, timeout=10, check=False)
    if done.returncode != 0:
        raise Failure(f'knothole doctor {server}: {done.stderr.strip()}')
    return json.loads(done.stdout)


def doctor_tells_tls():
    with tls_world(1, 'drop') as (party, hosts):
        closed, free = hosts
        # Where, by whom asked, and what is true of UDP, TCP and TLS.
        for server, host, expected in (
                (f'{network.SERVER_IP}:3478', closed, (False, False, True)),
                (f'https://{network.SERVER_IP}', closed, (False, False, True)),
                (f'{network.SERVER_IP}:3478', free, (True, True, True))):
            found = ask_doctor(party, host, server)
            if tuple(found[key] for key in ('udp', 'tcp', 'tls')) != expected:
                raise Failure(f'of {server} the doctor says {found}')
    with Lab() as lab:
        host = lab.add_box('a', 'port-restricted', delay=DELAY).add_host('ha')
        with Party(lab) as party:
            found = ask_doctor(party, host, party.server.address)
            if found['tls'] is not None:
                raise Failure(f'without a certificate tls is {found["tls"]}')
    return 'true by 443 and by an https link, null without a certificate'


CASES = (udp_blocked_on_one_side, udp_blocked_on_both_sides, only_443_on_one_side,
         only_443_on_both_sides, https_link_plain_is_swallowed, https_link_plain_is_reset,
         certificate_is_reloaded, connection_breaks, line_is_cut, server_restarts, doctor_tells_tls)


if __name__ == '__main__':
    sys.exit(cases.play(CASES, at_once=AT_ONCE))
