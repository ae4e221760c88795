#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""lab/outages.py - what breaks in mid-conversation, with 1,000 messages a minute from each side."""

import sys
import threading
import time

import cases
from chat import Failure, Party, Server, need_programs
from network import Lab, run

DELAY = 20  # ms, one way, of each site's line
PAUSE = 0.06  # s between two messages of one: 1,000 a minute
BACK_WITHIN = 3.0  # s after the server's return
HEARD_WITHIN = 3.0  # s, whatever breaks, if the server is there


class Talk(threading.Thread):
    """Both say something all the time."""

    def __init__(self, *chats):
        super().__init__(daemon=True)
        self.chats, self.done = chats, threading.Event()
        self.said_at = {chat: [time.monotonic()] * len(chat.said) for chat in chats}
        self.start()

    def run(self):
        while not self.done.wait(PAUSE):
            for chat in self.chats:
                self.said_at[chat].append(time.monotonic())
                chat.say(f'{chat.name} {len(chat.said)}')

    def stop(self):
        self.done.set()
        self.join()

    def ways(self, author, listener):
        """Of each message of the author: when it was said, when heard, and by which carrier."""
        heard = listener.events('message', name=author.name)
        return [(said, event['_at'], event['via']) for said, event in
                zip(self.said_at[author], heard)]

    def both_ways(self):
        a, b = self.chats
        return self.ways(a, b), self.ways(b, a)

    def longest(self, since):
        """The longest way of what was said since then."""
        return max(heard - said for ways in self.both_ways() for said, heard, _ in ways
                   if said >= since)


class Place:
    """Alice and Bob, each at a site of this kind, talking."""

    def __init__(self, kind):
        self.kind = kind

    def __enter__(self):
        self.lab = Lab()
        self.lab.__enter__()
        try:
            need_programs(self.lab)
            self.boxes = [self.lab.add_box(name, self.kind, delay=DELAY) for name in 'ab']
            self.hosts = [box.add_host(f'h{box.name}') for box in self.boxes]
            self.party = Party(self.lab)
            return self
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *unused):
        if hasattr(self, 'party'):
            self.party.__exit__()
        self.lab.__exit__()

    def meet(self, path_kind):
        """They have a channel along a path of that kind, and talk from now on."""
        chats = []
        for host, name in zip(self.hosts, ('Alice', 'Bob')):
            chats.append(self.party.join(host, name, f'{name} is here.'))
            chats[-1].event('joined')
        for chat in chats:
            chat.event('path', kind=path_kind)
            chat.opened()
        self.chats, self.talk = chats, Talk(*chats)
        return chats

    def set_apart(self, apart):
        """What goes between the two sites alone is dropped, or passes again."""
        for box, other in (self.boxes, self.boxes[::-1]):
            self.nft(box, 'table inet apart {\nchain forward { type filter hook forward priority 0; '
                     f'ip daddr {other.external} drop; ip saddr {other.external} drop; }}\n}}\n'
                     if apart else 'delete table inet apart\n')

    def set_udp(self, box, passes):
        if passes:
            self.nft(box, 'delete table inet no_udp\n')
        else:
            box.block_udp()

    @staticmethod
    def nft(box, rules):
        run('nsenter', f'--net=/var/run/netns/{box.netns}', 'nft', '-f', '-', text=rules)

    def wait_for_path(self, kind, since, timeout):
        """Waits until the latest path of each is of that kind; returns when that was so."""
        def find(chat):
            paths = chat.events('path')
            return paths[-1] if paths[-1]['kind'] == kind and paths[-1]['_at'] >= since else None
        return max(chat.wait(lambda chat=chat: find(chat), f'{chat.name}: {kind} path',
                             timeout)['_at'] for chat in self.chats)

    def check_in_time(self, since):
        longest = self.talk.longest(since)
        if longest > HEARD_WITHIN:
            raise Failure(f'a message took {longest:.2f} s')
        return longest

    def finish(self):
        """All is heard, once and in order, and both leave well."""
        self.talk.stop()
        for chat in self.chats:
            chat.delivered()
        self.party.check_words()
        self.party.check_exits()
        return sum(len(chat.said) for chat in self.chats)


def restart(away, by_tcp=False):
    """The server of a relayed pair is killed and comes back."""
    with Place('symmetric-random') as place:
        if by_tcp:
            for box in place.boxes:
                box.block_udp()
        place.meet('relayed')
        time.sleep(2)
        place.party.server.kill()
        time.sleep(away)
        place.party.server = Server(place.lab)
        returned = time.monotonic()
        time.sleep(BACK_WITHIN + 1)
        count = place.finish()
        back = [min((heard for said, heard, via in ways if via == 'channel' and said >= returned),
                    default=returned + 100) - returned for ways in place.talk.both_ways()]
        words = [min(heard for said, heard, _ in ways if heard >= returned) - returned
                 for ways in place.talk.both_ways()]
        if max(back) > BACK_WITHIN:
            raise Failure(f'the channel came back after {max(back):.2f} s')
        return (f'away {away} s: words again after {max(words):.2f} s, by the channel after '
                f'{max(back):.2f} s, {count} messages')


def server_away_for_a_second():
    return restart(1)


def server_away_for_five_seconds():
    return restart(5)


def server_away_for_twenty_seconds():
    return restart(20)


def server_away_for_five_seconds_by_tcp():
    return restart(5, by_tcp=True)


def check_ascent(chat, quiet_from):
    """Its path went up to the direct one and stayed there."""
    kinds = [path['kind'] for path in chat.events('path')]
    if kinds != sorted(kinds, reverse=True):
        raise Failure(f'the paths of {chat.name} are {kinds}')
    if chat.events('path')[-1]['_at'] > quiet_from:
        raise Failure(f'the path of {chat.name} does not come to rest')


def relay_first_then_direct():
    """Nothing passes between the sites at first; then it does."""
    with Place('port-restricted') as place:
        place.set_apart(True)
        place.meet('relayed')
        time.sleep(3)
        place.set_apart(False)
        opened = time.monotonic()
        moved = place.wait_for_path('direct', opened, 60) - opened
        time.sleep(5)
        longest = place.check_in_time(0)
        for chat in place.chats:
            check_ascent(chat, opened + moved + 2)
        count = place.finish()
        return f'direct {moved:.1f} s after the way opened, no message over {longest:.2f} s, {count}'


def direct_path_cut():
    """The relay takes over, and gives way again."""
    with Place('port-restricted') as place:
        place.meet('direct')
        time.sleep(2)
        place.set_apart(True)
        cut = time.monotonic()
        took = place.wait_for_path('relayed', cut, 10) - cut
        time.sleep(3)
        place.set_apart(False)
        opened = time.monotonic()
        back = place.wait_for_path('direct', opened, 30) - opened
        time.sleep(1)
        longest = place.check_in_time(0)
        count = place.finish()
        return (f'relayed after {took:.2f} s, direct again after {back:.1f} s, no message over '
                f'{longest:.2f} s, {count}')


def udp_cut():
    """All UDP of one side is cut, to the server too: the way by TCP has to be found first."""
    with Place('port-restricted') as place:
        place.meet('direct')
        time.sleep(2)
        place.set_udp(place.boxes[0], False)
        time.sleep(10)
        place.set_udp(place.boxes[0], True)
        opened = time.monotonic()
        back = place.wait_for_path('direct', opened, 90) - opened
        time.sleep(1)
        longest = place.check_in_time(0)
        count = place.finish()
        return f'direct again after {back:.1f} s, no message over {longest:.2f} s, {count} messages'


CASES = (server_away_for_a_second, server_away_for_five_seconds, server_away_for_twenty_seconds,
         server_away_for_five_seconds_by_tcp, relay_first_then_direct, direct_path_cut, udp_cut)


if __name__ == '__main__':
    sys.exit(cases.play(CASES, at_once=len(CASES)))
