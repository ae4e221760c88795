# SPDX-License-Identifier: MIT
"""lab/router.py - the kernel's NAT with a miniupnpd that opens ports in it on request."""

import os
import time

import network
from chat import Failure
from network import Box, run

RULES = """table inet kh_upnp {
    chain forward { type filter hook forward priority 0; iifname "up0" jump granted;
                    iifname "up0" ct state new drop; }
    chain prerouting { type nat hook prerouting priority -100; jump inwards; }
    chain postrouting { type nat hook postrouting priority 90; jump outwards; }
    chain granted { }
    chain inwards { }
    chain outwards { }
}
"""

CONFIG = """ext_ifname=up0
listening_ip=br0
enable_natpmp={pcp}
enable_upnp={upnp}
upnp_table_name=kh_upnp
upnp_nat_table_name=kh_upnp
upnp_forward_chain=granted
upnp_nat_chain=inwards
upnp_nat_postrouting_chain=outwards
lease_file={directory}/leases
min_lifetime={shortest}
max_lifetime={longest}
secure_mode=yes
system_uptime=yes
ipv6_disable=yes
uuid=00000000-0000-4000-8000-000000000001
allow 1024-65535 0.0.0.0/0 1024-65535
deny 0-65535 0.0.0.0/0 0-65535
"""


class GrantingBox(Box):
    """The kernel's NAT, with a miniupnpd that opens ports in it on request."""

    def __init__(self, lab, name, directory, speaks, parent=None, longest=86400, **line):
        super().__init__(lab, name, 'masquerade', parent, **line)
        self.directory = directory
        if not speaks:
            return
        self.inside('nft', '-f', '-', text=RULES)
        self.ip_batch('route add 239.0.0.0/8 dev br0')
        path = os.path.join(directory, 'miniupnpd.conf')
        with open(path, 'w', encoding='ascii') as file:
            file.write(CONFIG.format(directory=directory, pcp='yes' if 'pcp' in speaks else 'no',
                                     upnp='yes' if 'upnp' in speaks else 'no',
                                     shortest=min(120, longest - 1), longest=longest))
        with open(os.path.join(directory, 'miniupnpd.log'), 'w', encoding='ascii') as log:
            self.daemon = lab.start(['miniupnpd', '-d', '-f', path, '-P',
                                     os.path.join(directory, 'miniupnpd.pid')],
                                    self.netns, stdout=log, stderr=log)
        signs = [sign for protocol, sign in (('upnp', 'HTTP listening'), ('pcp', 'Listening for NAT'))
                 if protocol in speaks]
        until = time.monotonic() + 10
        while not all(sign in self.log() for sign in signs):
            if self.daemon.poll() is not None or time.monotonic() > until:
                raise network.LabError(f'miniupnpd does not start: {self.log()}')
            time.sleep(0.05)

    def set_addresses(self):
        super().set_addresses()
        # miniupnpd grants nothing where the outside looks private or like documentation.  Inside a
        # carrier this is what those that ran out of private addresses use: somebody's public ones.
        self.external = f'11.0.0.{self.number}'

    def inside(self, *command, text=None):
        return run('nsenter', f'--net=/var/run/netns/{self.netns}', *command, text=text)

    def log(self):
        with open(os.path.join(self.directory, 'miniupnpd.log'), encoding='utf-8') as file:
            return file.read()[-2000:]

    def mappings(self):
        rules = self.inside('nft', 'list', 'chain', 'inet', 'kh_upnp', 'inwards')
        return [line.strip() for line in rules.splitlines() if 'dnat' in line]

    def leases(self):
        """When each mapping ends, as seconds from now."""
        with open(os.path.join(self.directory, 'leases'), encoding='utf-8') as file:
            return [int(line.split(':')[4]) - time.time() for line in file if line.strip()]

    def wait_for_mappings(self, count, timeout=5.0):
        until = time.monotonic() + timeout
        while len(self.mappings()) != count:
            if time.monotonic() > until:
                raise Failure(f'{len(self.mappings())} mappings, not {count}: {self.log()}')
            time.sleep(0.05)
