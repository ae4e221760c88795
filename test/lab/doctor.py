# SPDX-License-Identifier: MIT
"""lab/doctor.py - is `knothole doctor` right about every box the lab has?  Under a minute.

The expectations come from `natbox --kinds`; all boxes stand in one lab and are asked at once.
"""

import json
import shutil
import subprocess
import tempfile
import time

from chat import Failure, need_programs
from network import KERNEL_KINDS, SECOND_IP, SERVER_IP, Lab, run
from router import GrantingBox

DELAY = 20  # ms, one way
LONGEST = 5.0  # seconds a diagnosis may take
AT_ONCE = 6  # boxes in one lab


def expected_of(lab, kind):
    known = lab.behaviour(kind)
    expected = {key: known[key] for key in ('mapping', 'filtering', 'ports')}
    # 2 leaves the private source address in place: Linux refuses datagrams from its own address.
    expected['hairpin'] = known['hairpin'] == 1 if known['translates'] else None
    return expected


def start_server(lab):
    server = lab.start([lab.program('knotholed'), '--listen', f'{SERVER_IP}:3478',
                        '--listen', f'{SECOND_IP}:3478'],
                       netns=lab.internet.netns, stderr=subprocess.PIPE, text=True)
    ready = server.stderr.readline()
    if f'{SECOND_IP}:3479' not in ready:
        raise Failure(f'knotholed does not serve the other port: {ready.strip()}')


def start_doctor(lab, kind, number, **line):
    box = lab.add_box(f'b{number}', kind, delay=DELAY, **line)
    host = box.add_host(f'h{number}')
    command = [lab.program('knothole'), 'doctor', f'{SERVER_IP}:3478', '--json']
    started = time.monotonic()
    process = lab.start(command, netns=host.netns, stdout=subprocess.PIPE,
                        stderr=subprocess.PIPE, text=True)
    return box, started, process


def check(lab, kind, box, process):
    """Returns what is wrong, or None."""
    try:
        out, err = process.communicate(timeout=LONGEST)
    except subprocess.TimeoutExpired:
        return f'it takes longer than {LONGEST} s'
    if process.returncode != 0:
        return f'exit code {process.returncode}: {err.strip()}'
    found = json.loads(out)
    expected = {**expected_of(lab, kind), 'udp': True, 'tcp': True, 'pcp': False,
                'natpmp': False, 'upnp': False}
    if box.translates:
        expected['public'] = box.external
    wrong = {key: found[key] for key, value in expected.items() if found[key] != value}
    return f'found {wrong}' if wrong else None


def examine(kinds, **line):
    failed = 0
    with Lab() as lab:
        need_programs(lab)
        start_server(lab)
        doctors = [(kind, *start_doctor(lab, kind, number, **line))
                   for number, kind in enumerate(kinds)]
        for kind, box, started, process in doctors:
            wrong = check(lab, kind, box, process)
            failed += wrong is not None
            print(f'{"FAIL" if wrong else "ok  "}  {kind}{" " if wrong else ""}{wrong or ""}  '
                  f'({time.monotonic() - started:.1f} s)', flush=True)
    return failed


def nobody_answers():
    """Exit code 4 where there is no server, in time."""
    with Lab() as lab:
        started = time.monotonic()
        _box, _started, process = start_doctor(lab, 'port-restricted', 1)
        process.communicate(timeout=LONGEST)
        if process.returncode != 4:
            raise Failure(f'without a server the exit code is {process.returncode}')
        print(f'ok    no server  ({time.monotonic() - started:.1f} s)', flush=True)


def udp_is_blocked():
    """Only TCP gets out: still a diagnosis."""
    with Lab() as lab:
        start_server(lab)
        box = lab.add_box('b1', 'port-restricted', delay=DELAY)
        run('nsenter', f'--net=/var/run/netns/{box.netns}', 'nft', '-f', '-',
            text='table ip kh {\nchain f { type filter hook forward priority 0; '
                 'meta l4proto udp drop; }\n}\n')
        started = time.monotonic()
        process = lab.start([lab.program('knothole'), 'doctor', f'{SERVER_IP}:3478', '--json'],
                            netns=box.add_host('h1').netns, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True)
        out, err = process.communicate(timeout=LONGEST)
        if process.returncode != 0:
            raise Failure(f'where UDP is blocked: {err.strip()}')
        found = json.loads(out)
        expected = {'udp': False, 'tcp': True, 'mapping': None, 'public': None}
        if any(found[key] != value for key, value in expected.items()):
            raise Failure(f'where UDP is blocked: {out.strip()}')
        print(f'ok    UDP blocked  ({time.monotonic() - started:.1f} s)', flush=True)


def router_that_grants(speaks, expected):
    """A router with miniupnpd: which protocols does it speak?"""
    with Lab() as lab, tempfile.TemporaryDirectory() as directory:
        start_server(lab)
        host = GrantingBox(lab, 'b1', directory, speaks, delay=DELAY).add_host('h1')
        started = time.monotonic()
        process = lab.start([lab.program('knothole'), 'doctor', f'{SERVER_IP}:3478', '--json'],
                            netns=host.netns, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            text=True)
        out, err = process.communicate(timeout=LONGEST)
        found = json.loads(out) if process.returncode == 0 else {}
        if any(found.get(key) != value for key, value in expected.items()):
            raise Failure(f'behind a router that speaks {speaks}: {out.strip()} {err.strip()}')
        print(f'ok    router that speaks {speaks}  ({time.monotonic() - started:.1f} s)', flush=True)


def doctor(names):
    with Lab() as lab:
        kinds = names or [*lab.kinds(), *KERNEL_KINDS]
    failed = sum(examine(kinds[at:at + AT_ONCE]) for at in range(0, len(kinds), AT_ONCE))
    if not names:
        print('with 10 % of all datagrams lost:', flush=True)
        failed += examine(['port-restricted', 'full-cone', 'cgn', 'symmetric-stride'], loss=0.1)
        nobody_answers()
        udp_is_blocked()
        if shutil.which('miniupnpd'):
            router_that_grants('pcp', {'pcp': True, 'natpmp': True, 'upnp': False})
            router_that_grants('upnp', {'pcp': False, 'natpmp': False, 'upnp': True})
    return 1 if failed else 0
