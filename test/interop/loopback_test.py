#!/usr/bin/env python3
"""The real programs on the loopback interface: loopback_test.py KNOTHOLED KNOTHOLE

One server and some clients at a time, on ports the system chooses.  Every process is ended, and every
wait has an end.
"""
import json
import os
import pathlib
import pty
import queue
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

KNOTHOLED, KNOTHOLE = (str(pathlib.Path(path).resolve()) for path in sys.argv[1:3])
PATIENCE = 15  # seconds; nothing here should take one


class Process:
    """A program whose lines are collected while it runs."""

    def __init__(self, *arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE):
        self.popen = subprocess.Popen(arguments, stdin=stdin, stdout=stdout,
                                      stderr=subprocess.PIPE)
        self.out, self.err = queue.Queue(), queue.Queue()
        self.seen, self.seen_err = [], []
        if self.popen.stdout is not None:
            threading.Thread(target=self._read, args=(self.popen.stdout, self.out),
                             daemon=True).start()
        threading.Thread(target=self._read, args=(self.popen.stderr, self.err),
                         daemon=True).start()

    @staticmethod
    def _read(stream, lines):
        for line in stream:
            lines.put(line.decode().rstrip("\n"))
        stream.close()
        lines.put(None)

    @staticmethod
    def _wait_line(lines, seen, wanted):
        until = time.monotonic() + PATIENCE
        while True:
            try:
                line = lines.get(timeout=max(0, until - time.monotonic()))
            except queue.Empty:
                line = None
            if line is None:
                raise AssertionError("it did not come; seen:\n" + "\n".join(seen))
            seen.append(line)
            found = wanted(line)
            if found:
                return found

    def error_line(self, pattern):
        return self._wait_line(self.err, self.seen_err,
                               lambda line: re.search(pattern, line))

    def line(self, text):
        return self._wait_line(self.out, self.seen, lambda line: line == text)

    def event(self, kind, /, **fields):
        def wanted(line):
            event = json.loads(line)
            match = event["event"] == kind and all(event.get(k) == v for k, v in fields.items())
            return event if match else None
        return self._wait_line(self.out, self.seen, wanted)

    def type(self, *lines):
        self.popen.stdin.write("".join(line + "\n" for line in lines).encode())
        self.popen.stdin.flush()

    def close_input(self):
        self.popen.stdin.close()

    def code(self):
        return self.popen.wait(PATIENCE)

    def rest(self):
        """All lines until the end of output, those seen before included."""
        while (line := self.out.get(timeout=PATIENCE)) is not None:
            self.seen.append(line)
        return self.seen

    def kill(self):
        if self.popen.poll() is None:
            self.popen.kill()
        self.popen.wait()
        if self.popen.stdin is not None and not self.popen.stdin.closed:
            try:
                self.popen.stdin.close()
            except BrokenPipeError:
                pass


def shut(sock):
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass


class Loopback(unittest.TestCase):
    def setUp(self):
        self.processes = []
        self.dir = tempfile.mkdtemp(prefix="knothole-")

    def tearDown(self):
        for process in self.processes:
            process.kill()
        shutil.rmtree(self.dir)

    def start(self, *arguments, **options):
        self.processes.append(Process(*arguments, **options))
        return self.processes[-1]

    def serve(self, *options):
        self.server = self.start(KNOTHOLED, "--listen", "127.0.0.1:0", *options)
        self.port = int(self.server.error_line(r"^knotholed ready on 127\.0\.0\.1:(\d+)$")[1])
        return self.server

    def new_link(self):
        return subprocess.run([KNOTHOLE, "new", f"127.0.0.1:{self.port}"], check=True,
                              capture_output=True, text=True).stdout.strip()

    def chat(self, target, name, *options, mode="--json", **others):
        return self.start(KNOTHOLE, "chat", target, "--name", name, mode, "--state",
                          f"{self.dir}/{name}", *options, **others)

    def run_chat(self, target, text, *options):
        return subprocess.run([KNOTHOLE, "chat", target, "--plain", "--state", self.dir, *options],
                              input=text.encode(), capture_output=True, timeout=PATIENCE)

    # ---- the server ----

    def test_server_greets(self):
        self.serve()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(PATIENCE)
            sock.sendto(b"Hi!", ("127.0.0.1", self.port))
            self.assertEqual(sock.recvfrom(64), (b"HI!", ("127.0.0.1", self.port)))

    @unittest.skipUnless(shutil.which("nc"), "nc is not installed")
    def test_server_greets_nc(self):
        self.serve()
        done = subprocess.run(["nc", "-u", "-w1", "127.0.0.1", str(self.port)], input=b"Hi!",
                              capture_output=True, timeout=PATIENCE)
        self.assertEqual(done.stdout, b"HI!")

    def connect(self):
        sock = socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)
        self.addCleanup(sock.close)
        return sock, sock.makefile("rb")

    def test_server_answers_over_tcp(self):
        self.serve()
        sock, stream = self.connect()
        binding = bytes.fromhex("000100002112a442") + b"abcdefghijkl"
        sock.sendall(b"Hi!\r\n" + binding + binding[:7])
        self.assertEqual(stream.read(5), b"HI!\r\n")
        port = sock.getsockname()[1] ^ 0x2112
        mapped = bytes.fromhex("00200008") + b"\0\1" + port.to_bytes(2, "big") + \
            bytes.fromhex("5e12a443")
        answer = bytes.fromhex("0101000c2112a442") + b"abcdefghijkl" + mapped
        self.assertEqual(stream.read(len(answer)), answer)
        self.server.popen.send_signal(signal.SIGUSR1)
        self.server.error_line(r"tcp-connections=1 accepted=1 .* frames=2 ")
        sock.sendall(binding[7:] + b"no message")
        self.assertEqual(stream.read(), answer)

    @unittest.skipUnless(shutil.which("nc"), "nc is not installed")
    def test_server_greets_nc_over_tcp(self):
        self.serve()
        done = subprocess.run(["nc", "-w1", "127.0.0.1", str(self.port)], input=b"Hi!\n",
                              capture_output=True, timeout=PATIENCE)
        self.assertEqual(done.stdout, b"HI!\n")

    def test_server_answers_tcp_before_it_ends(self):
        self.serve()
        sock, stream = self.connect()
        sock.sendall(b"Hi!")
        self.assertEqual(stream.read(3), b"HI!")
        self.server.popen.send_signal(signal.SIGSTOP)
        sock.sendall(200 * b"Hi!")
        self.server.popen.send_signal(signal.SIGTERM)
        self.server.popen.send_signal(signal.SIGCONT)
        self.assertEqual(stream.read(), 200 * b"HI!")
        self.assertEqual(self.server.code(), 0)

    @unittest.skipUnless(shutil.which("turnutils_stunclient"), "coturn is not installed")
    def test_server_answers_coturn(self):
        self.serve()
        done = subprocess.run(["turnutils_stunclient", "-p", str(self.port), "127.0.0.1"],
                              capture_output=True, text=True, timeout=PATIENCE)
        self.assertRegex(done.stdout + done.stderr, r"UDP reflexive addr: 127\.0\.0\.1:\d+")

    def test_server_ends_on_signals(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            server = self.serve()
            server.popen.send_signal(signal.SIGUSR1)
            server.error_line(r"rooms=0 members=0")
            server.popen.send_signal(number)
            self.assertEqual(server.code(), 0)

    def test_server_says_what_is_wrong(self):
        self.serve()
        for arguments, code, sentence in (
                (["--listen", f"127.0.0.1:{self.port}"], 1,
                 f"cannot listen on 127.0.0.1:{self.port}: another program uses this port"),
                (["--listen", "192.0.2.77:0"], 1, "cannot listen on 192.0.2.77:0"),
                (["--listen", "here"], 2, "--listen needs an address"),
                (["--config", "/nowhere/at/all"], 2, "cannot read /nowhere/at/all"),
                (["--tls-cert", "/nowhere", "--tls-key", "/nowhere"], 1, "cannot read /nowhere"),
                (["--tea"], 2, "there is no option --tea")):
            done = subprocess.run([KNOTHOLED, *arguments], capture_output=True, text=True,
                                  timeout=PATIENCE)
            self.assertEqual(done.returncode, code)
            self.assertIn(sentence, done.stderr)
            self.assertEqual(done.stderr.count("\n"), 1)

    # ---- a server that only TCP reaches ----

    def serve_by_tcp_only(self):
        """A port whose UDP is silent and whose TCP leads to the server."""
        self.serve()
        target = ("127.0.0.1", self.port)
        gate = socket.create_server(("127.0.0.1", 0))
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.bind(gate.getsockname())
        self.addCleanup(udp.close)
        self.addCleanup(gate.close)
        self.port = udp.getsockname()[1]
        self.lines = []

        def pump(source, sink):
            try:
                while data := source.recv(4096):
                    sink.sendall(data)
            except OSError:
                pass
            shut(source)
            shut(sink)

        def admit():
            try:
                while True:
                    pair = (gate.accept()[0], socket.create_connection(target))
                    self.lines.append(pair)
                    for one, other in (pair, pair[::-1]):
                        threading.Thread(target=pump, args=(one, other), daemon=True).start()
            except OSError:
                pass

        threading.Thread(target=admit, daemon=True).start()
        self.addCleanup(self.cut_lines)

    def cut_lines(self):
        lines, self.lines = self.lines, []
        for end in [end for pair in lines for end in pair]:
            shut(end)
            end.close()

    def test_tcp_where_udp_is_silent(self):
        self.serve_by_tcp_only()
        link = self.new_link()
        start = time.monotonic()
        alice, bob = self.chat(link, "Alice"), self.chat(link, "Bob")
        alice.event("member")
        bob.event("member")
        alice.type("over the wall")
        self.assertEqual(bob.event("message")["text"], "over the wall")
        self.assertLess(time.monotonic() - start, 2)
        # one each to talk, and one to learn where the own port is seen from outside
        self.assertIn(len(self.lines), range(2, 5))

        # the ways to the server break; a third one is heard of by new ones
        self.cut_lines()
        carol = self.chat(link, "Carol")
        carol.type("is anyone here?")
        for one in (alice, bob):
            self.assertEqual(one.event("message", name="Carol")["text"], "is anyone here?")

    def test_udp_only_means_it(self):
        self.serve_by_tcp_only()
        done = self.run_chat(self.new_link(), "hello", "--server-udp-only", "--linger", "1")
        self.assertEqual(done.returncode, 4)
        self.assertEqual(self.lines, [])

    # ---- usage ----

    def test_help_and_version(self):
        for arguments in ([KNOTHOLED, "--help"], [KNOTHOLE, "--help"], [KNOTHOLE, "chat", "--help"],
                          [KNOTHOLE, "new", "--help"], [KNOTHOLED, "--version"],
                          [KNOTHOLE, "--version"]):
            done = subprocess.run(arguments, capture_output=True, text=True, timeout=PATIENCE)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            self.assertTrue(done.stdout)

    def test_bad_links_get_one_sentence(self):
        self.port = 9
        link = self.new_link()
        swapped = link[:-1] + ("A" if link[-1] != "A" else "B")
        for target in (swapped, link[:-1], link[:-5], link.replace("#", ""), link + "A", "#", "",
                       "https://", "http://:80/#" + link.split("#")[1]):
            done = self.run_chat(target, "lost words\n")
            self.assertEqual(done.returncode, 2, target)
            self.assertEqual(done.stderr.count(b"\n"), 1)
            self.assertEqual(done.stdout, b"")
        self.assertEqual(os.listdir(self.dir), [])

    def test_bad_usage_is_2(self):
        for arguments in (["chat"], ["chat", "x", "y"], ["chat", "x", "--ice", "thin"],
                          ["chat", "x", "--linger", "soon"], ["chat", "x", "--name", "\n"],
                          ["sing"], [], ["new"], ["new", "two words"]):
            done = subprocess.run([KNOTHOLE, *arguments], capture_output=True, timeout=PATIENCE,
                                  stdin=subprocess.DEVNULL)
            self.assertEqual(done.returncode, 2, arguments)
            self.assertEqual(done.stdout, b"")

    # ---- talking ----

    def test_two_talk_and_outlive_the_server(self):
        server = self.serve()
        alice = self.chat(f"127.0.0.1:{self.port}", "Alice")
        joined = alice.event("joined")
        link = joined["link"]
        bob = self.chat(link, "Bob")
        bob_id = bob.event("joined")["member"]
        alice.event("member", name="Bob", id=bob_id, state="present")
        path = alice.event("path", name="Bob", kind="direct", transport="udp")
        self.assertIn(path["candidate"], ("host", "prflx", "srflx"))
        self.assertIsInstance(path["rtt_ms"], float)
        alice.event("open", name="Bob")
        alice.type("Hello Bob", "//slash", "/unknown")
        alice.event("warning", code="unknown-command")
        sent = alice.event("sent", text="Hello Bob")
        heard = bob.event("message", text="Hello Bob", name="Alice", via="channel")
        self.assertEqual(heard["id"], sent["id"])
        self.assertEqual(heard["from"], joined["member"])
        self.assertLess(abs(heard["time"] / 1000 - time.time()), 3600)
        bob.event("message", text="/slash")
        alice.event("delivered", id=sent["id"], to=bob_id)

        server.kill()
        bob.type("Still there?")
        alice.event("message", text="Still there?", name="Bob", via="channel")
        alice.type("Yes: ü 漢 😀")
        bob.event("message", text="Yes: ü 漢 😀")
        alice.type("/verify")
        bob.type("/peers")
        digits = alice.event("peers")["members"][0]["verify"]
        self.assertRegex(digits, r"^(\d{5} ){7}\d{5}$")
        self.assertEqual(bob.event("peers")["members"][0]["verify"], digits)
        alice.close_input()
        self.assertEqual(alice.code(), 0)
        bob.event("member", name="Alice", state="gone")
        bob.close_input()
        self.assertEqual(bob.code(), 0)

    def test_two_at_once_meet_at_the_relay(self):
        self.serve("--allow-private-peers")
        link = self.new_link()
        alice, bob = (self.chat(link, name, "--ice", "relay") for name in ("Alice", "Bob"))
        for one in (alice, bob):
            one.event("path", kind="relayed", candidate="relay", local_candidate="relay")
            one.event("open")
        alice.type("through the fence")
        bob.event("message", text="through the fence", via="channel")

    def test_first_words_travel_with_the_join(self):
        self.serve()
        link = self.new_link()
        alice = self.chat(link, "Alice")
        alice.event("joined")
        done = self.run_chat(link, "knock knock\n", "--name", "Bob")
        self.assertEqual(done.returncode, 0, done.stderr)
        alice.event("message", text="knock knock", name="Bob", via="signal")
        alice.close_input()
        self.assertEqual(alice.code(), 0)

    def test_two_pipes_hear_each_other(self):
        self.serve()
        link = self.new_link()
        pair = [self.chat(link, name, mode="--plain") for name in ("Alice", "Bob")]
        for process, text in zip(pair, ("from Alice", "from Bob")):
            process.type(text)
            process.close_input()
        self.assertEqual([process.code() for process in pair], [0, 0])
        self.assertEqual(pair[0].rest(), ["Bob: from Bob"])
        self.assertEqual(pair[1].rest(), ["Alice: from Alice"])

    def test_three_hear_everything_once(self):
        self.serve()
        link = self.new_link()
        names = ("Alice", "Bob", "Carol")
        members = {name: self.chat(link, name) for name in names}
        for name, member in members.items():
            for other in names:
                if other != name:
                    member.event("open")
        for name, member in members.items():
            member.type(*(f"{name} {i}" for i in range(20)))
        for name, member in members.items():
            wanted = {f"{other} {i}" for other in names if other != name for i in range(20)}
            heard = []
            while len(heard) < len(wanted):
                heard.append(member.event("message")["text"])
            self.assertEqual(set(heard), wanted)
            for other in names:
                mine = [text for text in heard if text.startswith(other)]
                self.assertEqual(mine, sorted(mine, key=lambda text: int(text.split()[1])))
        for member in members.values():
            member.close_input()
        self.assertEqual([member.code() for member in members.values()], [0, 0, 0])
        for member in members.values():
            texts = [json.loads(line)["text"] for line in member.rest()
                     if '"event":"message"' in line]
            self.assertEqual(len(texts), 40)

    def test_many_lines_arrive_in_order(self):
        self.serve()
        link = self.new_link()
        listener = self.chat(link, "Alice", mode="--plain")
        listener.error_line("^joined")
        lines = [f"line {i}" for i in range(5000)]
        done = self.run_chat(link, "\n".join(lines), "--name", "Bob")
        self.assertEqual(done.returncode, 0, done.stderr)
        listener.line("Bob: line 4999")
        self.assertEqual(listener.seen, ["Bob: " + line for line in lines])

    # ---- ending ----

    def test_alone_is_3_and_silent_is_0(self):
        self.serve()
        link = self.new_link()
        done = self.run_chat(link, "anyone?\n", "--linger", "0.4")
        self.assertEqual(done.returncode, 3)
        self.assertIn(b"1 message was not delivered", done.stderr)
        self.assertEqual(self.run_chat(link, "", "--linger", "0.4").returncode, 0)

    def test_no_server_is_4(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
            silent.bind(("127.0.0.1", 0))
            done = self.run_chat(f"127.0.0.1:{silent.getsockname()[1]}", "hello?\n", "--linger",
                                 "4")
        self.assertEqual(done.returncode, 4)
        self.assertIn(b"still trying", done.stderr)
        self.assertIn(b"no server could be reached", done.stderr)

    def test_unfit_lines_are_skipped(self):
        self.serve()
        link = self.new_link()
        alice = self.chat(link, "Alice")
        alice.event("joined")
        done = subprocess.run([KNOTHOLE, "chat", link, "--plain", "--state", self.dir],
                              input=b"\xff\xfe\x00\n" + b"x" * 20000 + b"\nfine\n\x1b[2J\n",
                              capture_output=True, timeout=PATIENCE)
        self.assertEqual(done.returncode, 3)
        self.assertEqual(done.stderr.count(b"a line was not sent"), 3)
        alice.event("message", text="fine")

    def test_signal_says_goodbye(self):
        self.serve()
        link = self.new_link()
        alice = self.chat(link, "Alice")
        alice.event("joined")
        bob = self.chat(link, "Bob")
        alice.event("open", name="Bob")
        bob.popen.terminate()
        self.assertEqual(bob.code(), 0)
        alice.event("member", name="Bob", state="gone")
        alice.type("/quit")
        self.assertEqual(alice.code(), 0)

    def test_closed_output_ends_it(self):
        self.serve()
        link = self.new_link()
        alice = self.chat(link, "Alice")
        alice.event("joined")
        reader, writer = os.pipe()
        bob = self.chat(link, "Bob", mode="--plain", stdout=writer)
        os.close(writer)
        os.close(reader)
        alice.event("open", name="Bob")
        alice.type("to nobody")
        self.assertEqual(bob.code(), 0)

    # ---- what is kept ----

    def test_state_is_private_and_damage_is_told(self):
        self.serve()
        link = self.new_link()
        self.run_chat(link, "", "--linger", "0.2")
        identity = pathlib.Path(self.dir, "identity")
        self.assertEqual(identity.stat().st_mode & 0o777, 0o600)
        self.assertEqual(len(list(pathlib.Path(self.dir).glob("ticket-*"))), 1)
        identity.write_text(identity.read_text()[:-3])
        done = self.run_chat(link, "hello\n")
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stderr.decode(), r"^knothole chat: the identity .* is damaged.*\n$")

    def test_known_name_under_new_key_is_loud(self):
        self.serve()
        link = self.new_link()
        alice = self.chat(link, "Alice")
        alice.event("joined")
        for state in ("one", "two"):
            bob = self.chat(link, "Bob", "--state", f"{self.dir}/{state}")
            if state == "two":
                warning = alice.event("warning", code="name-changed-key")
                self.assertEqual(warning["name"], "Bob")
            alice.event("open", name="Bob")
            bob.type("/quit")
            self.assertEqual(bob.code(), 0)
            alice.event("member", name="Bob", state="gone")

    # ---- the screen ----

    def test_screen_shows_and_sends(self):
        self.serve()
        link = self.new_link()
        alice = self.chat(link, "Alice")
        alice.event("joined")
        child, terminal = pty.fork()
        if child == 0:
            os.environ.update(TERM="xterm", LANG="C")
            os.execv(KNOTHOLE, [KNOTHOLE, "chat", link, "--name", "Bob", "--state", self.dir])
        self.addCleanup(os.close, terminal)
        shown = bytearray()

        def show_until(text):
            until = time.monotonic() + PATIENCE
            while text not in shown:
                if not select.select([terminal], [], [], max(0, until - time.monotonic()))[0]:
                    raise AssertionError(f"the screen lacks {text}: {bytes(shown)}")
                shown.extend(os.read(terminal, 4096))

        show_until(b"the secure channel is open")
        alice.type("hello screen")
        show_until(b"hello screen")
        os.write(terminal, "wörld\x1bOD\x1b[D\x7fX\x1b[25~\r".encode())
        alice.event("message", text="wöXld", name="Bob")
        os.write(terminal, b"/verify\r")
        show_until(b" is here")
        os.write(terminal, b"\x04")
        until = time.monotonic() + PATIENCE
        while (status := os.waitpid(child, os.WNOHANG)) == (0, 0):
            self.assertLess(time.monotonic(), until)
            if select.select([terminal], [], [], 0.01)[0]:
                try:
                    os.read(terminal, 4096)
                except OSError:  # the other side of the terminal is closed
                    pass
        self.assertEqual(status[1], 0)
        alice.event("member", name="Bob", state="gone")

    # ---- what it costs ----

    def test_idle_client_is_small(self):
        self.serve()
        link = self.new_link()
        pair = [self.chat(link, name) for name in ("Alice", "Bob")]
        for process in pair:
            process.event("open")
        process = pathlib.Path(f"/proc/{pair[0].popen.pid}")
        if "asan" in process.joinpath("maps").read_text():
            self.skipTest("the sanitizers' own memory is not ours")
        status = process.joinpath("status").read_text()
        self.assertLess(int(re.search(r"VmRSS:\s*(\d+) kB", status)[1]), 15 * 1024)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
