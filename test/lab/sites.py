# SPDX-License-Identifier: MIT
"""lab/sites.py - the kinds of places people sit in, and what physics lets each pair of them do.

A site is one host behind one or two boxes.  Everything the matrix knows about a kind is in KINDS;
what it expects of a pair follows from the table of hard NATs, which is REACH.
"""

import collections

from router import GrantingBox

# How a NAT maps and filters, in the words of the table below.
OPEN, PORT, ADDRESS, PREDICTABLE, RANDOM = range(5)

# Rows and columns: independent mapping, open or address filter | independent, port filter |
# symmetric, address filter | symmetric, port filter, predictable | symmetric, port filter, random.
ICE, PREDICTION, BIRTHDAY, RELAY = 'ICE', 'prediction', 'birthday', 'relay'
REACH = (
    (ICE, ICE, ICE, ICE, ICE),
    (ICE, ICE, BIRTHDAY, PREDICTION, BIRTHDAY),
    (ICE, BIRTHDAY, BIRTHDAY, BIRTHDAY, BIRTHDAY),
    (ICE, PREDICTION, BIRTHDAY, PREDICTION, RELAY),
    (ICE, BIRTHDAY, BIRTHDAY, RELAY, RELAY),
)

# Seconds after the later start: the median, and the worst that a direct path should take.
GOALS = {ICE: (0.5, 1.0), PREDICTION: (2.0, 4.0), BIRTHDAY: (2.0, 12.0), 'TCP': (2.0, 5.0)}
RELAYED_GOAL = 1.0
FIRST_WORDS_GOAL = 0.5
BLOCKED_GOAL = 2.0  # for both, where UDP is blocked on a side

Kind = collections.namedtuple('Kind', 'name nat build means ipv6 udp tcp block',
                              defaults=(False, True, True, False))


def plain(box_kind, **extra):
    """One box of that kind."""
    def build(lab, name, line):
        return lab.add_box(f'{name}-box', box_kind, **extra, **line).add_host(name)
    return build


def carrier(lab, name, line):
    """A home router whose outside is the inside of its provider's NAT."""
    half = {**line, 'delay': line.get('delay', 0) / 2}
    provider = lab.add_box(f'{name}-cgn', 'cgn', **half)
    return lab.add_box(f'{name}-box', 'port-restricted', parent=provider, **half).add_host(name)


def port_mapping(lab, name, line):
    return GrantingBox(lab, f'{name}-box', lab.directory(), 'pcp upnp', **line).add_host(name)


def udp_blocked(lab, name, line):
    box = lab.add_box(f'{name}-box', 'port-restricted', **line)
    box.block_udp()
    return box.add_host(name)


def only_tls(lab, name, line):
    box = lab.add_box(f'{name}-box', 'port-restricted', **line)
    box.pass_only_tls()
    return box.add_host(name)


KINDS = {kind.name: kind for kind in (
    Kind('open', OPEN, plain('open'), 'a public address'),
    Kind('full-cone', OPEN, plain('full-cone'), 'independent mapping, no filter'),
    Kind('restricted-cone', OPEN, plain('restricted-cone'), 'independent mapping, address filter'),
    Kind('port-restricted', PORT, plain('port-restricted'),
         'independent mapping, port filter, keeps ports: the usual home router'),
    Kind('port-restricted-random', PORT, plain('port-restricted-random'),
         'the same with random ports'),
    Kind('address-dependent', ADDRESS, plain('address-dependent'),
         'a random port for each address, address filter'),
    Kind('symmetric-sequential', PREDICTABLE, plain('symmetric-sequential'),
         'the next port for each destination, port filter'),
    Kind('symmetric-block', RANDOM, plain('symmetric-block'),
         'a random port of 512 for each destination, port filter', block=True),
    Kind('symmetric-random', RANDOM, plain('symmetric-random'),
         'a random port for each destination, port filter'),
    Kind('masquerade', PORT, plain('masquerade'), "Linux' own NAT"),
    Kind('masquerade-random', RANDOM, plain('masquerade-random'),
         "Linux' own NAT, `fully-random`: symmetric"),
    Kind('carrier', PORT, carrier, "a home router in a carrier's NAT"),
    Kind('port-mapping', OPEN, port_mapping,
         "Linux' own NAT with miniupnpd, which maps ports on request"),
    Kind('ipv6-firewall', RANDOM, plain('symmetric-random', ipv6=True),
         'IPv6 behind a stateful firewall, IPv4 behind symmetric-random', ipv6=True),
    Kind('udp-blocked', PORT, udp_blocked, 'port-restricted, passes no UDP', udp=False),
    Kind('only-tls', PORT, only_tls, 'port-restricted, passes nothing but TLS to port 443',
         udp=False, tcp=False),
)}

Expectation = collections.namedtuple('Expectation', 'how must why')


def _expect_streams(a, b):
    if not (a.tcp and b.tcp):
        return Expectation(RELAY, False, 'Where only port 443 passes there is nobody but the '
                                        'server to talk to.')
    if a.nat in (OPEN, PORT) and b.nat in (OPEN, PORT):
        return Expectation('TCP', True, '')
    return Expectation(RELAY, False, 'Without UDP two connection attempts must cross, and where a '
                                     'router opens a new port for each destination its number '
                                     'would have to be guessed; by TCP nothing is guessed.')


def expect(a, b):
    """How these two kinds meet; must: it is a fault if they do not; why not, where they need not."""
    if a.ipv6 and b.ipv6:
        return Expectation(ICE, True, '')
    if not (a.udp and b.udp):
        return _expect_streams(a, b)
    how = REACH[a.nat][b.nat]
    if how != RELAY:
        return Expectation(how, True, '')
    if a.block and b.block:
        return Expectation(RELAY, False, 'Two blocks of 512 ports: to hit by chance, each side '
                                         'would need about 512 mappings, more than its block '
                                         'should give (half of it hits in one try of five).')
    if PREDICTABLE in (a.nat, b.nat):
        return Expectation(RELAY, False, 'The port that one side opens next can be guessed, but it '
                                         'opens towards one port of the other, which draws each '
                                         'at random: one datagram in 64,512 fits.')
    return Expectation(RELAY, False, 'Each side draws a new port for each destination, and both '
                                     'must fit: one datagram in 64,512 × 64,512, or 64,512 × 512 '
                                     'where one has a block.')


def relay_goal(a, b):
    return RELAYED_GOAL if a.udp and b.udp else BLOCKED_GOAL


def words_goal(a, b):
    return FIRST_WORDS_GOAL if a.udp and b.udp else BLOCKED_GOAL
