#!/usr/bin/env python3
"""Our TURN client against a coturn of this machine: coturn_test.py DRIVER

Starts turnserver on the loopback interface with a shared secret, runs the driver, and ends the server.
Exits 77, which Meson takes for "skipped", where there is no turnserver.
"""
import base64
import hashlib
import hmac
import shutil
import socket
import subprocess
import sys
import tempfile
import time

SECRET = "a secret that both know"
REALM = "example.org"
PATIENCE = 10  # seconds until the server listens


def free_port():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def answers(port):
    """Does anybody answer a STUN Binding request there?"""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.settimeout(0.2)
        probe.connect(("127.0.0.1", port))
        try:
            probe.send(bytes.fromhex("000100002112a442") + b"are you here")
            return len(probe.recv(2048)) > 0
        except OSError:
            return False


def wait_until_it_answers(server, port):
    until = time.monotonic() + PATIENCE
    while not answers(port):
        if server.poll() is not None or time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True


def run(turnserver, driver, folder, kind):
    port = free_port()
    username = f"{int(time.time()) + 3600}:alice"
    password = base64.b64encode(
        hmac.new(SECRET.encode(), username.encode(), hashlib.sha1).digest()).decode()
    with open(f"{folder}/log", "wb") as log:
        server = subprocess.Popen(
            [turnserver, "-n", "--use-auth-secret", f"--static-auth-secret={SECRET}",
             f"--realm={REALM}", "--allow-loopback-peers", "--no-tls", "--no-dtls",
             "-L", "127.0.0.1", "-E", "127.0.0.1", "-p", str(port), "--cli-password=x", "--no-cli",
             "--min-port=49152", "--max-port=65535", "--log-file=stdout", f"--pidfile={folder}/pid",
             f"--userdb={folder}/db", *(["--mobility"] if kind == "mobile" else [])], stdout=log, stderr=subprocess.STDOUT, cwd=folder)
        try:
            if not wait_until_it_answers(server, port):
                print("turnserver did not start")
                result = 1
            else:
                result = subprocess.run([driver, str(port), username, password, kind], timeout=60,
                                        check=False).returncode
        finally:
            server.terminate()
            try:
                server.wait(5)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()
    if result != 0:
        with open(f"{folder}/log", encoding="utf-8", errors="replace") as log:
            print("".join(log.readlines()[-40:]))
    return result


def main():
    turnserver = shutil.which("turnserver")
    if turnserver is None:
        print("there is no turnserver here: install coturn")
        return 77
    for kind in ("fixed", "mobile"):  # as it is by default, and with RFC 8016
        with tempfile.TemporaryDirectory() as folder:
            result = run(turnserver, sys.argv[1], folder, kind)
        if result != 0:
            return result
    return 0


if __name__ == "__main__":
    sys.exit(main())
