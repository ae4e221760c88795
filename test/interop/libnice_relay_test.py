#!/usr/bin/env python3
"""libnice relays through knotholed: libnice_relay_test.py KNOTHOLED DRIVER

An agent that may use nothing but the relay gets a relayed candidate with credentials of the shared
secret, and talks through it with an agent that has none.
"""
import base64
import hashlib
import hmac
import re
import signal
import subprocess
import sys
import time

SECRET = "north"


def start(knotholed):
    server = subprocess.Popen([knotholed, "--listen", "127.0.0.1:0", "--turn-secret", SECRET,
                               "--allow-private-peers"], stderr=subprocess.PIPE, text=True)
    for line in server.stderr:
        ready = re.search(r"ready on 127\.0\.0\.1:(\d+)", line)
        if ready:
            return server, ready.group(1)
    raise SystemExit("knotholed does not begin")


def main():
    server, port = start(sys.argv[1])
    username = f"{int(time.time()) + 3600}:alice"
    password = base64.b64encode(
        hmac.new(SECRET.encode(), username.encode(), hashlib.sha1).digest()).decode()
    try:
        result = subprocess.run([sys.argv[2], port, username, password], timeout=60,
                                check=False).returncode
    finally:
        server.send_signal(signal.SIGTERM)
        code = server.wait(10)
        server.stderr.close()
    return result or code


if __name__ == "__main__":
    sys.exit(main())
