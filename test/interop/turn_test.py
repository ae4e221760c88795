#!/usr/bin/env python3
"""coturn's test client against knotholed: turn_test.py KNOTHOLED

turnutils_uclient talks to itself through the relay (-y) over the loopback interface, with credentials of
the shared secret: by channels and by Send indications, over UDP, TCP and TLS, IPv4 and IPv6.  Not a
datagram may be lost.  Exits 77, which Meson takes for "skipped", where there is no turnutils_uclient.
"""
import base64
import hashlib
import hmac
import os
import pathlib
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import unittest

KNOTHOLED = str(pathlib.Path(sys.argv[1]).resolve())
SECRET = "north"
PATIENCE = 60  # seconds; the client alone takes five to begin
MAGIC = 0x2112A442
ALLOCATE, PERMISSION, CHANNEL_BIND = 0x003, 0x008, 0x009
DENIED = ["127.0.0.1", "0.0.0.0", "169.254.1.1", "10.0.0.1", "192.168.0.1", "172.16.0.1", "100.64.0.1",
          "224.0.0.1", "255.255.255.255", "::1", "::", "fe80::1", "fc00::1", "ff02::1",
          "::ffff:127.0.0.1", "::127.0.0.1", "2002:7f00:1::", "64:ff9b::127.0.0.1", "2001:0:7f00:1::"]


class Server:
    def __init__(self, *options):
        self.popen = subprocess.Popen(
            [KNOTHOLED, "--listen", "127.0.0.1:0", *(["--listen", "[::1]:0"] if socket.has_ipv6 else []),
             "--turn-secret", SECRET, *options], stderr=subprocess.PIPE, text=True)
        self.ports = {}
        for line in self.popen.stderr:
            if "ready on" in line:
                self.ports = {host: int(port)
                              for host, port in re.findall(r"(127\.0\.0\.1|\[::1\]):(\d+)", line)}
                return
        raise AssertionError("knotholed does not begin")

    def end(self):
        self.popen.send_signal(signal.SIGTERM)
        code = self.popen.wait(PATIENCE)
        self.popen.stderr.close()
        return code


def attribute(kind, value):
    return struct.pack("!HH", kind, len(value)) + value + b"\0" * (-len(value) % 4)


class Client:
    """As little of a TURN client as it takes to be refused."""

    def __init__(self, port):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.settimeout(5)
        self.socket.connect(("127.0.0.1", port))
        self.username = f"{int(time.time()) + 3600}:alice"
        password = base64.b64encode(hmac.new(SECRET.encode(), self.username.encode(),
                                             hashlib.sha1).digest()).decode()
        self.bare = self.ask(ALLOCATE, attribute(0x19, b"\x11\0\0\0"))
        self.realm, self.nonce = self.bare[1][0x14], self.bare[1][0x15]
        self.key = hashlib.md5(b":".join([self.username.encode(), self.realm,
                                          password.encode()])).digest()

    def ask(self, method, attributes):
        identity = os.urandom(12)
        header = struct.pack("!HHI", method, len(attributes), MAGIC) + identity
        self.socket.send(header + attributes)
        answer = self.socket.recv(2048)
        found, at = {}, 20
        while at < len(answer):
            kind, length = struct.unpack_from("!HH", answer, at)
            found[kind] = answer[at + 4:at + 4 + length]
            at += 4 + length + -length % 4
        code = found[9][2] * 100 + found[9][3] if 9 in found else 0
        return code, found, len(answer)

    def ask_signed(self, method, make):
        """`make` writes the attributes for a transaction id."""
        identity = os.urandom(12)
        attributes = (make(identity) + attribute(6, self.username.encode())
                      + attribute(0x14, self.realm) + attribute(0x15, self.nonce))
        header = struct.pack("!HHI", method, len(attributes) + 24, MAGIC) + identity
        mac = hmac.new(self.key, header + attributes, hashlib.sha1).digest()
        self.socket.send(header + attributes + attribute(8, mac))
        answer = self.socket.recv(2048)
        at = answer.find(struct.pack("!HH", 9, 4), 20)
        return 0 if answer[0] == 1 and answer[1] & 0x10 == 0 else answer[at + 6] * 100 + answer[at + 7]


def peer(text, identity):
    ipv6 = ":" in text
    ip = socket.inet_pton(socket.AF_INET6 if ipv6 else socket.AF_INET, text)
    mask = struct.pack("!I", MAGIC) + identity
    return attribute(0x12, struct.pack("!BBH", 0, 2 if ipv6 else 1, 80 ^ MAGIC >> 16)
                     + bytes(a ^ b for a, b in zip(ip, mask)))


def certificate(test):
    """The options to serve TLS with a certificate made for this test."""
    folder = tempfile.TemporaryDirectory(prefix="knothole-")
    test.addCleanup(folder.cleanup)
    files = [os.path.join(folder.name, name) for name in ("certificate.pem", "key.pem")]
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                    "-days", "2", "-subj", "/CN=example.org", "-out", files[0], "-keyout", files[1]],
                   check=True, capture_output=True)
    return ["--tls-cert", files[0], "--tls-key", files[1]]


class Turn(unittest.TestCase):
    def run_client(self, server, host, *options):
        return subprocess.Popen(
            ["turnutils_uclient", "-y", "-u", "alice", "-W", SECRET, "-n", "100", "-l", "170", "-m", "2",
             "-p", str(server.ports[f"[{host}]" if ":" in host else host]), *options, host],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def test_nothing_is_lost(self):
        ways = [[], ["-s"], ["-t"], ["-t", "-s"], ["-t", "-S"], ["-t", "-S", "-s"]]
        kinds = [["127.0.0.1", *way] for way in ways] + [["127.0.0.1", "-g", "-s"]]
        kinds += [["127.0.0.1", "-M"], ["127.0.0.1", "-M", "-s"]]  # RFC 8016: on to another socket
        server = Server("--allow-private-peers", *certificate(self))
        if "[::1]" in server.ports:
            kinds += [["::1", "-x", *way] for way in ways]
        clients = [(kind, self.run_client(server, *kind)) for kind in kinds]
        try:
            for kind, client in clients:
                with self.subTest(" ".join(kind)):
                    out = client.communicate(timeout=PATIENCE)[0]
                    self.assertRegex(out, r"tot_send_msgs=400, tot_recv_msgs=400", out[-2000:])
                    self.assertIn("Total lost packets 0 ", out)
        finally:
            for _, client in clients:
                if client.poll() is None:
                    client.kill()
                client.communicate()
            self.assertEqual(server.end(), 0)

    def test_private_peers_are_refused(self):
        server = Server()
        client = Client(server.ports["127.0.0.1"])
        try:
            self.assertEqual(client.bare[0], 401)
            self.assertLessEqual(client.bare[2], 3 * 28)
            self.assertEqual(client.ask_signed(
                ALLOCATE, lambda _: attribute(0x19, b"\x11\0\0\0")), 0)
            for number, text in enumerate(DENIED):
                with self.subTest(text):
                    self.assertEqual(client.ask_signed(PERMISSION, lambda i: peer(text, i)), 403)
                    self.assertEqual(client.ask_signed(
                        CHANNEL_BIND, lambda i: attribute(
                            0xc, struct.pack("!HH", 0x4000 + number, 0)) + peer(text, i)), 403)
            self.assertEqual(client.ask_signed(PERMISSION, lambda i: peer("192.0.2.1", i)), 0)
        finally:
            client.socket.close()
            self.assertEqual(server.end(), 0)


if __name__ == "__main__":
    if shutil.which("turnutils_uclient") is None:
        sys.exit(77)
    unittest.main(argv=sys.argv[:1])
