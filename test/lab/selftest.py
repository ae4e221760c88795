# SPDX-License-Identifier: MIT
"""lab/selftest.py - are the lab's boxes what their names say?  Asked with plain sockets.

The expectations come from `natbox --kinds`, the answers from datagrams that cross the box.
"""

import socket
import struct
import time

import sites
from chat import Failure
from network import KERNEL_KINDS, SECOND_IP, SERVER_IP, SERVER_IP6, Lab

QUIET = 0.06  # seconds without a datagram that mean none comes; the line's delay is 2 ms
# Of sites, where it is not the port filter.
FILTERS = {'open': 'endpoint-independent', 'full-cone': 'endpoint-independent',
           'restricted-cone': 'address-dependent', 'address-dependent': 'address-dependent'}


def check(condition, text):
    if not condition:
        raise Failure(text)


def receive(sock, wait=2.0):
    """Returns (payload, source address), or (None, None) after `wait` seconds."""
    sock.settimeout(wait)
    try:
        return sock.recvfrom(2048)
    except socket.timeout:
        return None, None


class Outside:
    """Three sockets that only differ in port or address."""

    def __init__(self, lab):
        netns = lab.internet.netns
        self.main = lab.socket_in(netns, SERVER_IP, 3478)
        self.port = lab.socket_in(netns, SERVER_IP, 3479)
        self.other = lab.socket_in(netns, SECOND_IP, 3478)

    def ask(self, inside, which):
        """Sends from inside and returns the source address seen outside."""
        outside = {'main': self.main, 'port': self.port, 'other': self.other}[which]
        inside.sendto(b'who am I', outside.getsockname())
        data, source = receive(outside)
        check(data == b'who am I', 'an outbound datagram is lost')
        return source


def check_mapping(kind, outside, host):
    sock = host.udp()
    main, port = outside.ask(sock, 'main'), outside.ask(sock, 'port')
    other, again = outside.ask(sock, 'other'), outside.ask(sock, 'main')
    found = ('endpoint-independent' if main == port == other else
             'address-dependent' if main == port else 'address-and-port-dependent')
    check(main == again, 'a mapping does not last')
    check(found == kind['mapping'], f'mapping is {found}')
    check(not kind['translates'] or main[0] == host.box.path_to_internet()[-1].external,
          f'the outside sees {main[0]}')


def check_filtering(kind, outside, host):
    sock = host.udp()
    hole = outside.ask(sock, 'main')
    passed = []
    for name, sender in (('main', outside.main), ('port', outside.port),
                         ('other', outside.other)):
        sender.sendto(name.encode(), hole)
        if receive(sock, QUIET)[0] == name.encode():
            passed.append(name)
    found = {('main', 'port', 'other'): 'endpoint-independent',
             ('main', 'port'): 'address-dependent',
             ('main',): 'address-and-port-dependent'}.get(tuple(passed), f'odd: {passed}')
    check(found == kind['filtering'], f'filtering is {found}')


def check_ports(kind, outside, host):
    inside, external = [], []
    for _ in range(8):
        sock = host.udp()
        inside.append(sock.getsockname()[1])
        external.append(outside.ask(sock, 'main')[1])
    steps = {b - a for a, b in zip(external, external[1:])}
    if inside == external:
        found = 'preserved'
    elif len(steps) == 1:
        found = 'sequential'
    elif max(external) - min(external) < 512:
        found = 'block'
    else:
        found = 'random'
    check(found == kind['ports'], f'ports are {found}: {inside} become {external}')


def check_hairpin(kind, outside, alice, carol):
    a, c = alice.udp(), carol.udp()
    a_hole, c_hole = outside.ask(a, 'main'), outside.ask(c, 'main')
    for sender, hole in ((a, c_hole), (c, a_hole), (a, c_hole)):
        sender.sendto(b'neighbour', hole)
        time.sleep(0.01)
    data, source = receive(c, QUIET)
    if not kind['translates']:
        return
    if kind['mapping'] != 'endpoint-independent' and kind['hairpin']:
        return  # the mappings made on the way have ports nobody told
    found = 0 if data is None else 1 if source == a_hole else 2
    check(found == kind['hairpin'], f'hairpin is {found}, the other side saw {source}')


def check_tcp(lab, host):
    listener = lab.socket_in(lab.internet.netns, SERVER_IP, 8080, socket.SOCK_STREAM)
    listener.listen()
    client = lab.socket_in(host.netns, host.ip, 0, socket.SOCK_STREAM)
    client.connect((SERVER_IP, 8080))
    server, _ = listener.accept()
    server.sendall(b'x' * 100000)
    got = 0
    while got < 100000:
        got += len(client.recv(65536))
    for sock in (client, server, listener):
        sock.close()


def check_kind(name, seed):
    with Lab(seed=seed) as lab:
        kind = lab.behaviour(name)
        box = lab.add_box('box', name, delay=1)
        alice, carol = box.add_host('alice'), box.add_host('carol')
        outside = Outside(lab)
        check_mapping(kind, outside, alice)
        check_filtering(kind, outside, alice)
        check_ports(kind, outside, alice)
        check_hairpin(kind, outside, alice, carol)
        check_tcp(lab, alice)


def round_trips(outside, sock, count):
    """Sends `count` datagrams to and fro; returns the times of those that came back, in ms."""
    times = []
    for n in range(count):
        started = time.monotonic()
        sock.sendto(struct.pack('!I', n), outside.main.getsockname())
        data, source = receive(outside.main, 1.0)
        if data is None:
            continue
        outside.main.sendto(data, source)
        if receive(sock, 1.0)[0] == data:
            times.append((time.monotonic() - started) * 1000)
    return times


def check_delay():
    with Lab() as lab:
        host = lab.add_box('box', 'port-restricted', delay=20).add_host('alice')
        times = sorted(round_trips(Outside(lab), host.udp(), 20))
        middle = times[len(times) // 2]
        check(len(times) == 20, f'{20 - len(times)} of 20 datagrams lost')
        check(times[0] >= 39.9 and middle < 48, f'20 ms each way took {middle:.2f} ms')
        return f'20 ms one way: round trip {times[0]:.2f} to {times[-1]:.2f} ms'


def check_loss():
    with Lab() as lab:
        host = lab.add_box('box', 'port-restricted', loss=0.3).add_host('alice')
        outside, sock = Outside(lab), host.udp()
        arrived = 0
        for _ in range(10):  # a socket's buffer holds less than 300 at once
            for _ in range(100):
                sock.sendto(b'x', outside.main.getsockname())
            while receive(outside.main, QUIET)[0]:
                arrived += 1
        check(620 <= arrived <= 780, f'{arrived} of 1000 came through a line that loses 30 %')
        return f'30 % loss: {arrived} of 1000 arrive'


def check_rebinding():
    with Lab() as lab:
        box = lab.add_box('box', 'port-restricted')
        host = box.add_host('alice')
        outside, sock = Outside(lab), host.udp()
        before = outside.ask(sock, 'main')
        box.rebind()
        time.sleep(0.05)
        outside.main.sendto(b'too late', before)
        check(receive(sock, QUIET)[0] is None, 'a forgotten mapping still works')
        after = outside.ask(sock, 'main')
        check(before != after, 'rebinding changed nothing')
        check(box.stats()['unmapped'] == 1, 'natbox counted wrong')
        return 'rebinding: new port, old one dead'


def check_nesting():
    with Lab() as lab:
        outer = lab.add_box('outer', 'cgn', delay=1)
        inner = lab.add_box('inner', 'port-restricted', parent=outer)
        outside = Outside(lab)
        seen = outside.ask(inner.add_host('alice').udp(), 'main')
        check(seen[0] == outer.external, f'behind two boxes the outside sees {seen[0]}')
        return 'double NAT: the outer address is seen'


def check_reach(lab, host, port, patience):
    """Does a TCP connection from this host to that port of the server come about?"""
    listener = lab.socket_in(lab.internet.netns, SERVER_IP, port, socket.SOCK_STREAM)
    listener.listen()
    client = lab.socket_in(host.netns, host.ip, 0, socket.SOCK_STREAM)
    client.settimeout(patience)
    try:
        client.connect((SERVER_IP, port))
        return True
    except OSError:
        return False
    finally:
        client.close()
        listener.close()


def check_blocked(lab, host, ports_open):
    inside, server = host.udp(), lab.socket_in(lab.internet.netns, SERVER_IP, 3478)
    inside.sendto(b'who am I', (SERVER_IP, 3478))
    check(receive(server, QUIET)[0] is None, 'UDP passes')
    found = {port: check_reach(lab, host, port, 5.0 if passes else 0.3)
             for port, passes in ports_open.items()}
    check(found == ports_open, f'TCP to these ports passes: {found}')


def check_looks(lab, host):
    """At port 443 only what begins like TLS passes."""
    listener = lab.socket_in(lab.internet.netns, SERVER_IP, 443, socket.SOCK_STREAM)
    listener.listen()
    for text, passes in ((b'GET / HTTP/1.1', False), (b'\x16\x03\x01', True)):
        client = lab.socket_in(host.netns, host.ip, 0, socket.SOCK_STREAM)
        client.connect((SERVER_IP, 443))
        server, _ = listener.accept()
        client.sendall(text)
        server.settimeout(2.0 if passes else QUIET)
        try:
            found = server.recv(100) == text
        except socket.timeout:
            found = False
        check(found == passes, f'{text} at port 443: {"passes" if found else "does not pass"}')
        client.close()
        server.close()
    listener.close()


def check_ipv6(lab, host):
    server = lab.socket_in(lab.internet.netns, SERVER_IP6, 3478)
    other = lab.socket_in(lab.internet.netns, SERVER_IP6, 3479)
    inside = lab.socket_in(host.netns, host.ip6)
    inside.sendto(b'who am I', server.getsockname()[:2])
    data, source = receive(server)
    check(data == b'who am I' and source[0] == host.ip6, f'IPv6 arrives as {source}')
    other.sendto(b'stranger', source[:2])
    check(receive(inside, QUIET)[0] is None, 'a stranger comes in by IPv6')
    server.sendto(b'answer', source[:2])
    check(receive(inside)[0] == b'answer', 'an answer does not come in by IPv6')


def check_granting(host):
    host.box.wait_for_mappings(0)
    check(host.box.daemon.poll() is None, 'miniupnpd is gone')


def check_site(name, seed):
    """The matrix's sites, which are made of boxes."""
    kind = sites.KINDS[name]
    with Lab(seed=seed) as lab:
        host = kind.build(lab, 'alice', {'delay': 1})
        if not kind.udp:
            check_blocked(lab, host, {443: True, 3478: kind.tcp})
            return kind.tcp or check_looks(lab, host)
        if kind.ipv6:
            check_ipv6(lab, host)
        if name == 'port-mapping':
            check_granting(host)
        outside = Outside(lab)
        sock = host.udp()
        seen = [outside.ask(sock, which) for which in ('main', 'port', 'other')]
        independent = name == 'open' or kind.nat in (sites.OPEN, sites.PORT)
        check((len(set(seen)) == 1) == independent, f'the outside sees {seen}')
        outer = host.box.path_to_internet()[-1]
        check(name == 'open' or seen[0][0] == outer.external, f'the outside sees {seen[0][0]}')
        check_filtering({'filtering': FILTERS.get(name, 'address-and-port-dependent')}, outside, host)


def selftest(seed):
    with Lab() as lab:
        names = [*lab.kinds(), *KERNEL_KINDS]
    failed = 0
    for name in names:
        try:
            check_kind(name, seed)
            print(f'ok    {name}', flush=True)
        except Failure as failure:
            failed += 1
            print(f'FAIL  {name}: {failure}', flush=True)
    for name in sites.KINDS:
        try:
            check_site(name, seed)
            print(f'ok    site {name}', flush=True)
        except Failure as failure:
            failed += 1
            print(f'FAIL  site {name}: {failure}', flush=True)
    for test in (check_delay, check_loss, check_rebinding, check_nesting):
        try:
            print(f'ok    {test()}', flush=True)
        except Failure as failure:
            failed += 1
            print(f'FAIL  {test.__name__}: {failure}', flush=True)
    return 1 if failed else 0
