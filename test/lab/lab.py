#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""lab/lab.py - the real programs in network namespaces, behind emulated and kernel NATs."""

import argparse
import sys

import network
import selftest

SKIPPED = 77  # what Meson takes for "not here"


def need_namespaces():
    why = network.why_impossible()
    if why:
        print(f'skipped: {why}')
        sys.exit(SKIPPED)


def command_selftest(options):
    need_namespaces()
    return selftest.selftest(options.seed)


def parse(arguments):
    parser = argparse.ArgumentParser(prog='lab.py', description=__doc__.split(' - ')[1])
    commands = parser.add_subparsers(dest='command', required=True)
    one = commands.add_parser('selftest', help='are the boxes what their names say?')
    one.add_argument('--seed', type=int, default=1)
    one.set_defaults(function=command_selftest)
    return parser.parse_args(arguments)


def main():
    network.stop_on_signals()
    options = parse(sys.argv[1:])
    try:
        return options.function(options)
    except network.LabError as error:
        print(f'lab: {error}', file=sys.stderr)
        return 1


if __name__ == '__main__':
    sys.exit(main())
