# SPDX-License-Identifier: MIT
"""lab/doctor.py - is `knothole doctor` right about every box and site the lab has?  Half a minute.

The expectations come from `natbox --kinds`; all stand in one lab and are asked at once.
"""

import collections
import json
import re
import shutil
import subprocess
import threading
import time

import sites
from chat import Failure, need_programs
from network import KERNEL_KINDS, SECOND_IP, SERVER_IP, SERVER_IP6, SERVER_NAME, Lab
from router import GrantingBox

DELAY = 20  # ms, one way
LONGEST = 5.0  # seconds a diagnosis may take
CLASSIFIED = 3.0  # seconds after which a member knows all: one, and two for a busy machine
HALF = 0.5  # of all datagrams are lost, each way

# A host to ask from, and what the answer must hold: key to value, or to a tuple of them.
# Silence: how long it has to be silent to find out how long the router remembers; 0: it need not.
Patient = collections.namedtuple('Patient', 'name host expected silence', defaults=(0,))


def expected_of(lab, kind):
    known = lab.behaviour(kind)
    expected = {key: known[key] for key in ('mapping', 'filtering', 'ports')}
    # 2 leaves the private source address in place: Linux refuses datagrams from its own address.
    expected['hairpin'] = known['hairpin'] == 1 if known['translates'] else None
    return {**expected, 'udp': True, 'tcp': True, 'pcp': False, 'natpmp': False, 'upnp': False,
            'second_router': None}


def start_server(lab, *more):
    server = lab.start([lab.program('knotholed'), '--listen', f'{SERVER_IP}:3478',
                        '--listen', f'{SECOND_IP}:3478', *more],
                       netns=lab.internet.netns, stderr=subprocess.PIPE, text=True)
    ready = server.stderr.readline()
    if f'{SECOND_IP}:3479' not in ready:
        raise Failure(f'knotholed does not serve the other port: {ready.strip()}')


def behind_box(lab, kind, number, **line):
    box = lab.add_box(f'b{number}', kind, delay=DELAY, **line)
    expected = expected_of(lab, kind)
    if box.translates:
        expected['public'] = box.external
    return Patient(kind, box.add_host(f'h{number}'), expected)


class Visit(threading.Thread):
    """One diagnosis, and how long it took."""

    def __init__(self, lab, patient, server=f'{SERVER_IP}:3478'):
        super().__init__()
        self.patient, self.wrong, self.seconds = patient, None, None
        self.started = time.monotonic()
        self.longest = LONGEST + patient.silence
        more = ['--lifetime'] if patient.silence else []
        self.process = lab.start([lab.program('knothole'), 'doctor', server, '--json', *more],
                                 netns=patient.host.netns, stdout=subprocess.PIPE,
                                 stderr=subprocess.PIPE, text=True)
        self.start()

    def run(self):
        try:
            out, err = self.process.communicate(timeout=2 * self.longest)
        except subprocess.TimeoutExpired:
            self.wrong = 'it does not end'
            return
        self.seconds = time.monotonic() - self.started
        if self.process.returncode != 0:
            self.wrong = f'exit code {self.process.returncode}: {err.strip()}'
            return
        found = json.loads(out)
        wrong = {key: found.get(key) for key, value in self.patient.expected.items()
                 if found.get(key) not in (value if isinstance(value, tuple) else (value,))}
        if wrong:
            self.wrong = f'found {wrong}'
        elif self.seconds > self.longest:
            self.wrong = f'more than {self.longest} s'

    def tell(self):
        """Prints how it went; returns 1 if it went wrong."""
        self.join()
        print(f'{"FAIL" if self.wrong else "ok  "}  {self.patient.name}'
              f'{": " if self.wrong else ""}{self.wrong or ""}  ({self.seconds or 0:.1f} s)',
              flush=True)
        return self.wrong is not None


def examine(lab, patients, **options):
    return sum(visit.tell() for visit in [Visit(lab, patient, **options) for patient in patients])


def every_box(kinds):
    with Lab() as lab:
        need_programs(lab)
        start_server(lab)
        patients = [behind_box(lab, kind, number) for number, kind in enumerate(kinds)]
        return examine(lab, patients) + members_know(lab, patients)


def members_know(lab, patients):
    """Everyone joins a room, and finds out the same without being asked."""
    stays = [lab.start([lab.program('knothole'), 'chat', f'{SERVER_IP}:3478', '--plain', '-v',
                        '--linger', '0', '--state', lab.directory()], netns=patient.host.netns,
                       stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                       text=True)
             for patient in patients]
    time.sleep(CLASSIFIED)
    for stay in stays:
        stay.stdin.close()
        stay.stdin = None
    failed = 0
    for patient, stay in zip(patients, stays):
        said = stay.communicate(timeout=LONGEST)[1]
        found = dict(re.findall(r'(mapping|filtering|ports)=(\S+)',
                                ([''] + re.findall(r'node nat .*', said))[-1]))
        wrong = {key: found.get(key) for key in ('mapping', 'filtering', 'ports')
                 if found.get(key) != patient.expected[key]}
        if wrong:
            print(f'FAIL  a member behind {patient.name} found {wrong}', flush=True)
            failed += 1
    if not failed:
        print(f'ok    members know it {CLASSIFIED} s after their start', flush=True)
    return failed


def with_half_lost():
    """In time, and rather unknown or strict than invented: not even TCP need get through."""
    kinds = ['open', 'full-cone', 'port-restricted', 'symmetric-random', 'masquerade']
    with Lab(seed=7) as lab:
        start_server(lab)
        patients = []
        for number, kind in enumerate(kinds):
            known = lab.behaviour(kind)
            patient = behind_box(lab, kind, number, loss=HALF)
            rules = ['endpoint-independent', 'address-dependent', 'address-and-port-dependent']
            stricter = rules[rules.index(known['filtering']):]
            patients.append(Patient(f'{kind}, half of all datagrams lost each way', patient.host, {
                'mapping': (known['mapping'], None), 'filtering': (*stricter, None), 'udp': True,
                'ports': (known['ports'], None)}))
        return examine(lab, patients)


def special_sites():
    """A carrier behind the router, routers that give ports, no UDP."""
    with Lab() as lab:
        start_server(lab)
        line = {'delay': DELAY}
        patients = [
            Patient('home router behind a carrier', sites.carrier(lab, 's0', line), {
                'mapping': 'endpoint-independent', 'filtering': 'address-and-port-dependent',
                'ports': 'block', 'hairpin': True, 'second_router': None}),
            Patient('UDP blocked', sites.udp_blocked(lab, 's1', line), {
                'udp': False, 'tcp': True, 'mapping': None, 'public': None}),
            Patient('router that forgets after 3 s',
                    lab.add_box('s2', 'port-restricted', lifetime=3, **line).add_host('s2h'), {
                        'mapping': 'endpoint-independent', 'remembered_s': None, 'forgotten_s': 5},
                    silence=7),
        ]
        if shutil.which('miniupnpd'):
            patients += routers(lab, line)
        return examine(lab, patients)


def routers(lab, line):
    def granting(name, speaks, parent=None):
        box = GrantingBox(lab, name, lab.directory(), speaks, parent, **line)
        return box.add_host(f'{name}h')

    provider = lab.add_box('cgn', 'cgn', **line)
    return [
        Patient('router that speaks PCP', granting('r0', 'pcp'), {
            'pcp': True, 'natpmp': True, 'upnp': False, 'second_router': False,
            'mapping': 'endpoint-independent', 'ports': 'preserved'}),
        Patient('router that speaks UPnP', granting('r1', 'upnp'), {
            'pcp': False, 'natpmp': False, 'upnp': True, 'second_router': False}),
        Patient('such a router behind a carrier', granting('r2', 'pcp upnp', provider), {
            'pcp': True, 'upnp': True, 'second_router': True, 'ports': 'block'}),
    ]


def with_ipv6():
    """A stateful firewall for IPv6 beside, and without, a NAT for IPv4."""
    with Lab(ipv6=True) as lab:
        start_server(lab, '--listen', f'[{SERVER_IP6}]:3478')
        lab.name_the_server([SERVER_IP, SERVER_IP6])
        both = lab.add_box('b0', 'port-restricted', delay=DELAY)
        only = lab.add_box('b1', 'port-restricted', ipv6='only', delay=DELAY)
        hosts = [both.add_host('h0'), only.add_host('h1')]
        return examine(lab, [
            Patient('IPv6 firewall, IPv4 NAT', hosts[0], {
                'ipv6': True, 'mapping': 'endpoint-independent', 'public': both.external}),
            Patient('IPv6 firewall alone', hosts[1], {
                'ipv6': True, 'public': hosts[1].ip6, 'hairpin': None, 'udp': True,
                'filtering': (None, 'address-and-port-dependent')}),
        ], server=f'{SERVER_NAME}:3478')


def one_address():
    """What a server with one address can tell: half."""
    with Lab() as lab:
        server = lab.start([lab.program('knotholed'), '--listen', f'{SERVER_IP}:3478'],
                           netns=lab.internet.netns, stderr=subprocess.PIPE, text=True)
        server.stderr.readline()
        half = {'port-restricted': (None, 'address-and-port-dependent'),
                'full-cone': (None, None),
                'symmetric-random': ('address-and-port-dependent', 'address-and-port-dependent')}
        return examine(lab, [
            Patient(f'{kind}, server with one address', behind_box(lab, kind, number).host,
                    {'mapping': mapping, 'filtering': filtering,
                     'ports': lab.behaviour(kind)['ports']})
            for number, (kind, (mapping, filtering)) in enumerate(half.items())])


def nobody_answers():
    """Exit code 4 where there is no server, in time."""
    with Lab() as lab:
        visit = Visit(lab, behind_box(lab, 'port-restricted', 1))
        visit.join()
        if visit.process.returncode != 4 or visit.seconds > LONGEST:
            raise Failure(f'without a server: {visit.wrong}, {visit.seconds} s')
        print(f'ok    no server  ({visit.seconds:.1f} s)', flush=True)


def doctor(names):
    with Lab() as lab:
        kinds = names or [*lab.kinds(), *KERNEL_KINDS]
    failed = every_box(kinds)
    if not names:
        failed += special_sites() + with_ipv6() + one_address() + with_half_lost()
        nobody_answers()
    return 1 if failed else 0
