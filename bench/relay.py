#!/usr/bin/env python3
"""The relay against coturn in one run: relay.py KNOTHOLED [DATAGRAMS] [ALLOCATIONS]

Both serve on the loopback interface, each pinned to one core, one after the other.  Prints the CPU time
that a relayed datagram (ChannelData to peer, peer to ChannelData), a STUN Binding and an Allocate cost,
and the memory of an allocation, and how ours compares.  Where there is no turnserver, ours alone.
"""
import base64
import hashlib
import hmac
import os
import pathlib
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

KNOTHOLED = str(pathlib.Path(sys.argv[1]).resolve())
DATAGRAMS = int(sys.argv[2]) if len(sys.argv) > 2 else 40000
ALLOCATIONS = int(sys.argv[3]) if len(sys.argv) > 3 else 1000
BURST = 32  # datagrams under way at once: as a busy server sees them
SIZE = 160  # bytes: a voice packet
SECRET, REALM = "north", "knothole"
MAGIC = 0x2112A442
ALLOCATE, CHANNEL_BIND, BINDING = 0x003, 0x009, 0x001


def attribute(kind, value):
    return struct.pack("!HH", kind, len(value)) + value + b"\0" * (-len(value) % 4)


def header(method, length):
    return struct.pack("!HHI", method, length, MAGIC) + os.urandom(12)


def attributes_of(message):
    found, at = {}, 20
    while at < len(message):
        kind, length = struct.unpack_from("!HH", message, at)
        found.setdefault(kind, message[at + 4:at + 4 + length])
        at += 4 + length + -length % 4
    return found


def address(sock, mask=MAGIC):
    ip, port = sock.getsockname()
    return struct.pack("!BBHI", 0, 1, port ^ mask >> 16,
                       struct.unpack("!I", socket.inet_aton(ip))[0] ^ mask)


class Client:
    def __init__(self, port):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.settimeout(5)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.connect(("127.0.0.1", port))
        self.username = f"{int(time.time()) + 3600}:alice".encode()
        self.password = base64.b64encode(hmac.new(SECRET.encode(), self.username,
                                                  hashlib.sha1).digest())

    def allocate(self):
        wish = attribute(0x19, b"\x11\0\0\0")
        self.socket.send(header(ALLOCATE, len(wish)) + wish)
        found = attributes_of(self.socket.recv(2048))
        self.realm, self.nonce = found[0x14], found[0x15]
        self.key = hashlib.md5(b":".join([self.username, self.realm, self.password])).digest()
        found = self.ask(ALLOCATE, wish)
        port = struct.unpack_from("!H", found[0x16], 2)[0] ^ MAGIC >> 16
        self.relayed = ("127.0.0.1", port)

    def ask(self, method, attributes):
        attributes += (attribute(6, self.username) + attribute(0x14, self.realm)
                       + attribute(0x15, self.nonce))
        message = header(method, len(attributes) + 24) + attributes
        self.socket.send(message + attribute(8, hmac.new(self.key, message, hashlib.sha1).digest()))
        answer = self.socket.recv(2048)
        found = attributes_of(answer)
        if 9 in found:
            raise SystemExit(f"request {method} was refused: {found[9]!r}")
        return found


def cpu_ns(pid):
    return sum(int(task.joinpath("schedstat").read_text().split()[0])
               for task in pathlib.Path(f"/proc/{pid}/task").iterdir())


def resident(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) * 1024
    return 0


def exchange(send, receiver, count):
    """Sends bursts and takes what comes of them; returns how many came."""
    came = 0
    for _ in range(count // BURST):
        for _ in range(BURST):
            send()
        for _ in range(BURST):
            if not select.select([receiver], [], [], 0.5)[0]:
                break
            receiver.recv(2048)
            came += 1
    return came


def microseconds(pid, send, receiver):
    exchange(send, receiver, 2000)
    before = cpu_ns(pid)
    came = exchange(send, receiver, DATAGRAMS)
    if came < DATAGRAMS * 0.99:
        print(f"  only {came} of {DATAGRAMS} came", file=sys.stderr)
    return (cpu_ns(pid) - before) / 1000 / max(came, 1)


def measure(pid, port):
    peer = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    peer.bind(("127.0.0.1", 0))
    client = Client(port)
    client.allocate()
    client.ask(CHANNEL_BIND, attribute(0xc, b"\x40\x01\0\0") + attribute(0x12, address(peer)))
    data = struct.pack("!HH", 0x4001, SIZE) + b"x" * SIZE
    figures = {}
    figures["to peer, us"] = microseconds(pid, lambda: client.socket.send(data), peer)
    figures["to client, us"] = microseconds(
        pid, lambda: peer.sendto(b"x" * SIZE, client.relayed), client.socket)
    binding = header(BINDING, 0)
    figures["binding, us"] = microseconds(pid, lambda: client.socket.send(binding), client.socket)
    clients = [Client(port) for _ in range(ALLOCATIONS)]
    before, memory = cpu_ns(pid), resident(pid)
    for each in clients:
        each.allocate()
    figures["allocate, us"] = (cpu_ns(pid) - before) / 1000 / ALLOCATIONS
    figures["allocation, bytes"] = (resident(pid) - memory) / ALLOCATIONS
    for each in clients + [client]:
        each.socket.close()
    peer.close()
    return figures


def run(command, port, folder):
    core = min(os.sched_getaffinity(0))
    with open(f"{folder}/log", "wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, cwd=folder,
                                  preexec_fn=lambda: os.sched_setaffinity(0, {core}))
    try:
        time.sleep(1)
        return measure(server.pid, port)
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(10)


def free_port():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def main():
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        ours = run([KNOTHOLED, "--listen", f"127.0.0.1:{port}", "--turn-secret", SECRET,
                    "--allow-private-peers"], port, folder)
        theirs = {}
        if shutil.which("turnserver"):
            theirs = run(["turnserver", "-n", "--use-auth-secret", f"--static-auth-secret={SECRET}",
                          f"--realm={REALM}", "--allow-loopback-peers", "--no-tls", "--no-dtls",
                          "--no-tcp", "-m", "1", "-L", "127.0.0.1", "-E", "127.0.0.1",
                          "-p", str(port), "--no-cli", "--cli-password=x", "--log-file=/dev/null",
                          f"--pidfile={folder}/pid", f"--userdb={folder}/db"], port, folder)
    print(f"{'':20}{'knotholed':>12}{'coturn':>12}{'ratio':>8}")
    for name, figure in ours.items():
        other = theirs.get(name)
        print(f"{name:20}{figure:12.2f}"
              + (f"{other:12.2f}{figure / other:8.2f}" if other else f"{'-':>12}"))


if __name__ == "__main__":
    main()
