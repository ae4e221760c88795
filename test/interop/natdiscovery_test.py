#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""coturn asks our server on two addresses (RFC 5780): natdiscovery_test.py KNOTHOLED"""
import re
import shutil
import socket
import subprocess
import sys

SKIPPED = 77
TOOL = shutil.which("turnutils_natdiscovery")


def free_port():
    """A port that is free on both addresses, and so is the next one."""
    for _ in range(20):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
            one.bind(("127.0.0.1", 0))
            port = one.getsockname()[1]
        try:
            for address in ("127.0.0.1", "127.0.0.2"):
                for number in (port, port + 1):
                    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
                        other.bind((address, number))
            return port
        except (OSError, OverflowError):
            continue
    sys.exit(SKIPPED)


def ask(port, option):
    return subprocess.run([TOOL, option, "-p", str(port), "-L", "127.0.0.1", "127.0.0.1"],
                          capture_output=True, text=True, timeout=30).stdout


def main():
    if TOOL is None:
        print("skipped: turnutils_natdiscovery is not installed")
        return SKIPPED
    port = free_port()
    server = subprocess.Popen([sys.argv[1], "--listen", f"127.0.0.1:{port}",
                               "--listen", f"127.0.0.2:{port}"], stderr=subprocess.PIPE, text=True)
    try:
        ready = server.stderr.readline()
        for address in ("127.0.0.1", "127.0.0.2"):
            for number in (port, port + 1):
                assert f"{address}:{number}" in ready, ready
        mapping, filtering = ask(port, "-m"), ask(port, "-f")
        assert "NAT with Endpoint Independent Mapping!" in mapping, mapping
        assert f"Response origin: : 127.0.0.2:{port}\n" in mapping, mapping
        assert f"Other addr: : 127.0.0.2:{port + 1}\n" in mapping, mapping
        assert "NAT with Endpoint Independent Filtering!" in filtering, filtering
        # The answer to CHANGE-REQUEST left from the other address and the other port.
        assert re.search(rf"Response origin: : 127\.0\.0\.2:{port + 1}\n", filtering), filtering
    finally:
        server.terminate()
        server.communicate(timeout=5)
    assert server.returncode == 0, server.returncode
    return 0


if __name__ == "__main__":
    sys.exit(main())
