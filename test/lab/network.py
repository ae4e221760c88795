# SPDX-License-Identifier: MIT
"""lab/network.py - a small internet of network namespaces: one server, boxes, hosts behind them.

Every namespace is called kh-<pid>-<name>, so that two runs never meet, and the leftovers of a run
that was killed can be told from those of one that lives.  Addresses are test networks outside
(RFC 5737) and private ones inside; nothing here touches the namespace the lab was started in.
"""

import contextlib
import ctypes
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import types

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
CLONE_NEWNS, CLONE_NEWNET = 0x00020000, 0x40000000
MS_BIND, MS_REC, MS_SLAVE = 0x1000, 0x4000, 0x80000
PR_SET_PDEATHSIG = 1
SERVER_IP = '203.0.113.1'
SECOND_IP = '203.0.113.2'
SERVER_IP6 = '2001:db8:ffff::1'
SERVER_NAME = 'rendezvous.example'
# What nftables calls them, and how they behave; the words are those of `natbox --kinds`.
KERNEL_KINDS = {
    'masquerade': {'rule': 'masquerade', 'mapping': 'endpoint-independent', 'ports': 'preserved'},
    'masquerade-bare': {'rule': 'masquerade', 'mapping': 'endpoint-independent',
                        'ports': 'preserved'},
    'masquerade-random': {'rule': 'masquerade fully-random',
                          'mapping': 'address-and-port-dependent', 'ports': 'random'},
}
for behaviour in KERNEL_KINDS.values():
    behaviour.update(translates=True, open=False, filtering='address-and-port-dependent', hairpin=0)

libc = ctypes.CDLL(None, use_errno=True)


class LabError(Exception):
    """Something about the lab itself, not about what runs in it."""


def die_with_parent():
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def run(*command, text=None):
    done = subprocess.run(command, input=text, capture_output=True, text=True)
    if done.returncode != 0:
        raise LabError(f'{" ".join(command)}: {done.stderr.strip() or done.returncode}')
    return done.stdout


def why_impossible():
    """Returns why this machine cannot run the lab, or None."""
    if os.geteuid() != 0:
        return 'network namespaces need root'
    for tool in ('ip', 'nft', 'nsenter'):
        if shutil.which(tool) is None:
            return f'{tool} is not installed'
    if not os.path.exists('/dev/net/tun'):
        return 'there is no /dev/net/tun'
    name = f'kh-{os.getpid()}-try'
    try:
        run('ip', 'netns', 'add', name)
        run('ip', '-n', name, 'tuntap', 'add', 'dev', 't', 'mode', 'tun')
    except LabError as error:
        return f'network namespaces are not permitted here ({error})'
    finally:
        subprocess.run(['ip', 'netns', 'del', name], capture_output=True)
    return None


def namespaces():
    return [line.split()[0] for line in run('ip', 'netns', 'list').splitlines() if line.strip()]


def remove_namespace(name):
    for pid in subprocess.run(['ip', 'netns', 'pids', name], capture_output=True,
                              text=True).stdout.split():
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)
    subprocess.run(['ip', 'netns', 'del', name], capture_output=True)


def remove_leftovers():
    """Removes the namespaces of runs whose process is gone."""
    for name in namespaces():
        owner = re.match(r'kh-(\d+)-', name)
        if owner and not os.path.exists(f'/proc/{owner.group(1)}'):
            remove_namespace(name)


class Realm:
    """Addresses that reach each other without crossing a box: a LAN, or the internet itself."""

    def __init__(self, lab, name):
        self.lab = lab
        self.netns = lab.add_namespace(name)
        self.uplinks = 0
        self.ip_batch('link set lo up')
        for key in ('ipv4/ip_forward=1', 'ipv4/conf/all/rp_filter=0',
                    'ipv4/conf/default/rp_filter=0', 'ipv6/conf/all/forwarding=1',
                    'ipv6/conf/default/accept_dad=0', 'ipv6/conf/all/accept_dad=0'):
            self.sysctl(key)

    def sysctl(self, setting):
        key, value = setting.split('=')
        with contextlib.suppress(FileNotFoundError), self.lab.inside(self.netns):
            with open(f'/proc/sys/net/{key}', 'w', encoding='ascii') as file:
                file.write(value)

    def ip_batch(self, *lines):
        run('ip', '-n', self.netns, '-batch', '-', text='\n'.join(lines) + '\n')


class Box(Realm):
    """A router with a LAN behind it: our natbox, or the kernel's own NAT and natbox as its line."""

    def __init__(self, lab, name, kind, parent=None, ipv6=None, **line):
        super().__init__(lab, name)
        self.name, self.kind, self.line = name, kind, line
        self.ipv6 = lab.ipv6 if ipv6 is None else ipv6
        self.parent = parent or lab.internet
        self.number = lab.next_number()
        self.parent.uplinks += 1
        self.host_count = 0
        self.translates = lab.behaviour(kind)['translates']
        self.set_addresses()
        self.build()

    def set_addresses(self):
        n = self.number
        nested = self.parent is not self.lab.internet
        self.external = f'100.64.{n}.2' if nested else f'203.0.113.{10 + n}'
        # Everybody's home network looks the same; that two of them have equal addresses is a test.
        if self.translates:
            self.gateway, self.prefix = '192.168.1.1', 24
        else:
            self.gateway, self.prefix = f'198.51.100.{16 * (n % 16) + 1}', 28
        self.lan6 = f'2001:db8:{n:x}::'

    def host_ip(self, index):
        head, last = self.gateway.rsplit('.', 1)
        return f'{head}.{int(last) + 1 + index}'

    def build(self):
        device = f'u{self.number}'
        lan_lines = ['link add br0 type bridge', f'addr add {self.gateway}/{self.prefix} dev br0',
                     'link set br0 up', 'tuntap add dev up0 mode tun', 'link set up0 up',
                     'route add default dev up0']
        if self.ipv6:
            lan_lines += [f'addr add {self.lan6}1/64 dev br0 nodad',
                          'route add ::/0 dev up0']
        if self.kind in KERNEL_KINDS:
            lan_lines.insert(5, f'addr add {self.external}/32 dev up0')
        self.ip_batch(*lan_lines)
        target = self.external if self.translates else f'{self.network()}/{self.prefix}'
        lines = [f'tuntap add dev {device} mode tun', f'link set {device} up',
                 f'route add {target} dev {device}']
        if self.ipv6:
            lines.append(f'route add {self.lan6}/64 dev {device}')
        self.parent.ip_batch(*lines)
        if self.kind in KERNEL_KINDS:
            self.masquerade()
        self.start_natbox(device)

    def network(self):
        head, last = self.gateway.rsplit('.', 1)
        return f'{head}.{int(last) - 1}'

    def masquerade(self):
        # A home router drops what nobody asked for.  Without that ("bare") an early datagram of the
        # peer occupies the very tuple that our own answer needs, and the kernel picks another port.
        guard = '' if self.kind == 'masquerade-bare' else (
            'chain input { type filter hook input priority 0; iifname "up0" ct state new drop; }')
        rules = ('table ip kh {\nchain post { type nat hook postrouting priority 100; '
                 f'oifname "up0" {KERNEL_KINDS[self.kind]["rule"]}; }}\n{guard}\n}}\n')
        run('nsenter', f'--net=/var/run/netns/{self.netns}', 'nft', '-f', '-', text=rules)

    def start_natbox(self, device):
        kind = 'open' if self.kind in KERNEL_KINDS else self.kind
        command = [self.lab.program('test/lab/natbox'), '--kind', kind,
                   '--inside', f'{self.netns}:up0', '--outside', f'{self.parent.netns}:{device}',
                   '--seed', str(self.lab.seed + self.number)]
        if self.translates and kind != 'open':
            command += ['--external', self.external]
        for option, value in self.line.items():
            if value:
                command += [f'--{option}', str(value)]
        self.process = self.lab.start(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                      text=True)
        line = self.process.stderr.readline()
        if line != 'natbox ready\n':
            raise LabError(f'natbox of {self.name}: {line.strip() or "died"}')

    def block_udp(self):
        """From now on no UDP passes this router, in either direction and either family."""
        rules = ('table inet no_udp {\nchain forward { type filter hook forward priority 0; '
                 'meta l4proto udp drop; }\n}\n')
        run('nsenter', f'--net=/var/run/netns/{self.netns}', 'nft', '-f', '-', text=rules)

    def pass_only_tls(self, plain='drop'):
        """From now on nothing leaves but what looks like TLS to port 443: the first byte of the
        connection is that of a handshake.  `plain` is what becomes of all else there."""
        rules = ('table inet only_443 {\nchain forward { type filter hook forward priority 0; '
                 'policy drop; tcp dport 443 ct mark 1 accept; '
                 'tcp dport 443 @ih,0,8 22 ct mark set 1 accept; '
                 f'tcp dport 443 @ih,0,8 != 22 {plain}; tcp dport 443 accept; '
                 'tcp sport 443 accept; }\n}\n')
        run('nsenter', f'--net=/var/run/netns/{self.netns}', 'nft', '-f', '-', text=rules)

    def rebind(self):
        self.process.send_signal(signal.SIGUSR1)

    def stats(self):
        """Ends the box and returns its counters."""
        self.process.send_signal(signal.SIGTERM)
        return json.loads(self.process.communicate(timeout=5)[0])

    def add_host(self, name):
        host = Host(self.lab, name, self)
        self.host_count += 1
        return host

    def path_to_internet(self):
        """The boxes from here outwards."""
        box, boxes = self, []
        while isinstance(box, Box):
            boxes.append(box)
            box = box.parent
        return boxes


class Host:
    """A computer in the LAN of a box."""

    def __init__(self, lab, name, box):
        self.lab, self.name, self.box = lab, name, box
        self.netns = lab.add_namespace(name)
        self.ip = box.host_ip(box.host_count)
        self.ip6 = f'{box.lan6}{2 + box.host_count}'
        port = f'p{box.host_count}'
        run('ip', '-n', box.netns, '-batch', '-', text='\n'.join([
            f'link add {port} type veth peer name eth0 netns {self.netns}',
            f'link set {port} master br0 up']) + '\n')
        lines = ['link set lo up', f'addr add {self.ip}/{box.prefix} dev eth0', 'link set eth0 up',
                 f'route add default via {box.gateway}']
        if box.ipv6:
            lines += [f'addr add {self.ip6}/64 dev eth0 nodad',
                      f'route add ::/0 via {box.lan6}1']
        if box.ipv6 == 'only':
            lines = [line for line in lines if 'eth0' in line or ' lo ' in line or '::' in line]
            lines.remove(f'addr add {self.ip}/{box.prefix} dev eth0')
        run('ip', '-n', self.netns, '-batch', '-', text='\n'.join(lines) + '\n')

    def count_strangers(self, known):
        """From now on counts what this host sends by UDP or TCP to other addresses than `known`."""
        rules = ('table inet strangers {\nchain out { type filter hook output priority 0; '
                 f'meta l4proto {{ tcp, udp }} ip daddr != {known} counter; }}\n}}\n')
        run('nsenter', f'--net=/var/run/netns/{self.netns}', 'nft', '-f', '-', text=rules)

    def strangers(self):
        listing = run('nsenter', f'--net=/var/run/netns/{self.netns}', 'nft', 'list', 'table',
                      'inet', 'strangers')
        return int(re.search(r'counter packets (\d+)', listing).group(1))

    def udp(self, port=0):
        """A UDP socket in this host, although this process lives elsewhere."""
        return self.lab.socket_in(self.netns, self.ip, port)


class Lab:
    """All namespaces and processes of one run; leaves nothing behind, whatever happens."""

    def __init__(self, seed=1, ipv6=False):
        self.build = os.environ.get('KH_BUILD', os.path.join(ROOT, 'build'))
        self.seed, self.ipv6 = seed, ipv6
        self.prefix = f'kh-{os.getpid()}-'
        self.numbers = 0
        self.processes = []
        self.made = []
        self.kinds_known = None
        self.directories = []
        self.hosts_file = None

    def __enter__(self):
        try:
            remove_leftovers()
            self.internet = Realm(self, 'internet')
            self.internet.ip_batch(f'addr add {SERVER_IP}/32 dev lo',
                                   f'addr add {SECOND_IP}/32 dev lo',
                                   f'addr add {SERVER_IP6}/128 dev lo nodad')
            return self
        except BaseException:
            self.__exit__()
            raise

    @property
    def server_addresses(self):
        return [f'[{SERVER_IP6}]:3478' if self.ipv6 == 'only' else f'{SERVER_IP}:3478']

    def __exit__(self, *unused):
        # A second Ctrl-C must not cut the cleaning short.
        kept = {number: signal.signal(number, signal.SIG_IGN)
                for number in (signal.SIGINT, signal.SIGTERM)}
        for process in self.processes:
            if process.poll() is None:
                process.terminate()
        for process in self.processes:
            try:
                process.wait(timeout=2)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream:
                    with contextlib.suppress(OSError):
                        stream.close()
        for name in self.made:
            remove_namespace(name)
        for directory in self.directories:
            shutil.rmtree(directory, ignore_errors=True)
        for number, handler in kept.items():
            signal.signal(number, handler)

    def program(self, path):
        full = os.path.join(self.build, path)
        if not os.access(full, os.X_OK):
            raise LabError(f'{full} is not built')
        return full

    def kinds(self):
        """What `natbox --kinds` says: name to behaviour."""
        if self.kinds_known is None:
            self.kinds_known = {}
            for line in run(self.program('test/lab/natbox'), '--kinds').splitlines():
                name, kind, mapping, filtering, ports, hairpin, means = line.split('\t')
                self.kinds_known[name] = {
                    'translates': kind == '0', 'open': kind == '2', 'mapping': mapping,
                    'filtering': filtering, 'ports': ports, 'hairpin': int(hairpin),
                    'means': means}
        return self.kinds_known

    def behaviour(self, kind):
        if kind in KERNEL_KINDS:
            return KERNEL_KINDS[kind]
        if kind not in self.kinds():
            known = ', '.join([*self.kinds(), *KERNEL_KINDS])
            raise LabError(f'there is no box called {kind}; there are {known}')
        return self.kinds()[kind]

    def next_number(self):
        self.numbers += 1
        return self.numbers

    def add_namespace(self, name):
        full = self.prefix + name
        run('ip', 'netns', 'add', full)
        self.made.append(full)
        return full

    def add_box(self, name, kind, parent=None, **line):
        return Box(self, name, kind, parent, **line)

    def directory(self):
        """A new folder that goes with the lab."""
        self.directories.append(tempfile.mkdtemp(prefix='knothole-lab-'))
        return self.directories[-1]

    def name_the_server(self, addresses):
        """Programs started from now on find these addresses under SERVER_NAME."""
        self.hosts_file = os.path.join(self.directory(), 'hosts')
        with open(self.hosts_file, 'w', encoding='ascii') as file:
            file.writelines(f'{address} {SERVER_NAME}\n' for address in addresses)

    def prepare_child(self):
        die_with_parent()
        if self.hosts_file:
            # A mount of its own over /etc/hosts; SLAVE: namespaces removed outside go here, too.
            if (libc.unshare(CLONE_NEWNS) != 0 or
                    libc.mount(None, b'/', None, MS_REC | MS_SLAVE, None) != 0 or
                    libc.mount(self.hosts_file.encode(), b'/etc/hosts', None, MS_BIND, None) != 0):
                raise OSError(ctypes.get_errno(), 'a private /etc/hosts')

    def start(self, command, netns=None, **options):
        if netns:
            command = ['nsenter', f'--net=/var/run/netns/{netns}', *command]
        process = subprocess.Popen(command, preexec_fn=self.prepare_child, **options)
        self.processes.append(process)
        return process

    @contextlib.contextmanager
    def inside(self, netns):
        """Moves this thread into a namespace for a while."""
        with open('/proc/thread-self/ns/net', 'rb') as home, \
                open(f'/var/run/netns/{netns}', 'rb') as there:
            if libc.setns(there.fileno(), CLONE_NEWNET) != 0:
                raise LabError(f'setns: {os.strerror(ctypes.get_errno())}')
            try:
                yield
            finally:
                libc.setns(home.fileno(), CLONE_NEWNET)

    def socket_in(self, netns, ip, port=0, kind=socket.SOCK_DGRAM):
        with self.inside(netns):
            made = socket.socket(socket.AF_INET6 if ':' in ip else socket.AF_INET, kind)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((ip, port))
        made.settimeout(2)
        return made


class Loopback(Lab):
    """A lab without namespaces, boxes and delay, for machines that permit no more."""

    server_addresses = ['127.0.0.1:0']

    def __enter__(self):
        self.internet = self.host = types.SimpleNamespace(netns=None)
        return self


def stop_on_signals():
    """Turns SIGTERM and SIGHUP into an exception, so that every `with` cleans up."""
    def stop(number, _frame):
        raise SystemExit(128 + number)
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGHUP, stop)
