# SPDX-License-Identifier: MIT
"""lab/demo.py - the main job, shown: two people behind two NATs find each other and talk."""

import textwrap

from chat import Party, need_programs
from network import SERVER_IP, Lab, Loopback, why_impossible

DELAY = 20
KINDS = {'Alice': 'port-restricted', 'Bob': 'port-restricted-random'}
CARRIERS = {'signal': 'through the server, sealed', 'channel': 'directly, encrypted end to end'}
CANDIDATES = {'host': 'its own address', 'srflx': 'the address the server saw',
              'prflx': 'the address the peer saw'}


def say(text=''):
    print(text, flush=True)


class Stage:
    """Prints what happens in the order it happens, with the time since Bob's start."""

    def __init__(self):
        self.zero = 0.0
        self.lines = []

    def add(self, at, text):
        self.lines.append((at, text))

    def add_message(self, reader, event):
        self.add(event['_at'], f'{reader.name + " reads":<12} {event["name"]}: {event["text"]}'
                               f'  ({CARRIERS[event["via"]]})')

    def show(self):
        for at, text in sorted(self.lines):
            say(f'  {at - self.zero:+7.3f} s   {text}')
        self.lines = []


def introduce(lab, boxes, hosts):
    say('Knothole demo: a server and two people behind two NATs, each in a network namespace.')
    say()
    say(f'  server  {SERVER_IP}:3478, the only one with a public address of its own')
    for name, host in hosts.items():
        box = boxes[name]
        means = lab.kinds()[box.kind]['means']
        say(f'  {name:<7} {host.ip}, behind a NAT at {box.external}: {means}')
    say(f'  Each home has a line of {DELAY} ms each way: {2 * DELAY} ms to the server and back,')
    say(f'  {4 * DELAY} ms from Alice to Bob and back.')
    say()


def converse(party, hosts):
    """Plays the conversation; returns both chats."""
    stage = Stage()
    alice = party.join(hosts['Alice'], 'Alice')
    alice.event('joined')
    alice.say('Is anybody there?')
    bob = party.join(hosts['Bob'], 'Bob', 'Knock, knock!')
    stage.zero = bob.started
    stage.add(bob.started, 'Bob starts; Alice has been waiting in the room')
    stage.add(bob.event('joined')['_at'], 'Bob is in the room')
    stage.add_message(alice, alice.hears('Knock, knock!'))
    stage.add_message(bob, bob.hears('Is anybody there?'))
    paths = {chat.name: chat.event('path', kind='direct') for chat in (alice, bob)}
    stage.add(max(path['_at'] for path in paths.values()), 'both know a direct path')
    stage.add(max(chat.opened() for chat in (alice, bob)), 'the encrypted channel is open')
    for speaker, listener, text in (
            (alice, bob, 'I can hear you through the fence.'),
            (bob, alice, 'There must be a knothole in it.'),
            (alice, bob, 'And the server only held the ladder.')):
        speaker.say(text)
        stage.add_message(listener, listener.hears(text))
    say(f'The link that both were given (what follows # never leaves their machines):\n\n'
        f'  {party.link}\n')
    stage.show()
    say()
    return alice, bob, paths


def explain(alice, bob, paths):
    a, b = paths['Alice'], paths['Bob']
    took = max(a['_at'], b['_at']) - bob.started
    say('The hole they talk through:')
    say()
    if a['candidate'] == b['candidate'] == 'host':
        say(f'  Alice {a["local"]} > {a["remote"]}')
        say(f'  Bob   {b["local"]} > {b["remote"]}')
    else:
        say(f'  Alice {a["local"]}  <->  NAT {b["remote"]}')
        say(f'        <->  NAT {a["remote"]}  <->  {b["local"]} Bob')
    say()
    how = CANDIDATES.get(a['candidate'], a['candidate'])
    for line in textwrap.wrap(
            f'Each sent checks to every address the other had told; the first datagrams out open '
            f'NATs, and the next ones come through. Alice reaches Bob at {how}. Found '
            f'{took * 1000:.0f} ms after Bob started, over {a["transport"].upper()}; a round trip '
            f'on it takes {a["rtt_ms"]:.0f} ms.', 92):
        say(line)


def finish(party, alice, bob):
    party.check_words()
    party.check_exits()
    say()
    say(f'All {len(alice.said) + len(bob.said)} messages arrived once; both programs ended with 0.')


def demo_in_lab():
    with Lab() as lab:
        need_programs(lab)
        boxes = {name: lab.add_box(name.lower() + '-nat', kind, delay=DELAY)
                 for name, kind in KINDS.items()}
        hosts = {name: box.add_host(name.lower()) for name, box in boxes.items()}
        introduce(lab, boxes, hosts)
        with Party(lab) as party:
            alice, bob, paths = converse(party, hosts)
            explain(alice, bob, paths)
            finish(party, alice, bob)


def demo_on_loopback(why):
    say(f'No NATs in this demo: {why}.')
    say('So the server, Alice and Bob talk over the loopback interface of this machine.')
    say()
    with Loopback() as lab, Party(lab) as party:
        hosts = {name: lab.host for name in KINDS}
        alice, bob, paths = converse(party, hosts)
        explain(alice, bob, paths)
        finish(party, alice, bob)


def demo():
    why = why_impossible()
    if why:
        demo_on_loopback(why)
    else:
        demo_in_lab()
    return 0
