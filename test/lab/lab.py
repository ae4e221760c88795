#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""lab/lab.py - the real programs in network namespaces, behind emulated and kernel NATs."""

import argparse
import sys

import cell
import chat
import demo
import doctor
import matrix
import network
import selftest
import smoke
import times

SKIPPED = 77  # what Meson takes for "not here"


def need_namespaces():
    why = network.why_impossible()
    if why:
        print(f'skipped: {why}')
        sys.exit(SKIPPED)


def command_selftest(options):
    need_namespaces()
    return selftest.selftest(options.seed)


def command_smoke(options):
    need_namespaces()
    return smoke.smoke(options.case)


def command_doctor(options):
    need_namespaces()
    return doctor.doctor(options.kind)


def command_demo(_options):
    return demo.demo()


def command_run(options):
    need_namespaces()
    return cell.run_once(options)


def command_matrix(options):
    need_namespaces()
    return matrix.matrix(options)


def command_times(options):
    need_namespaces()
    return times.table(options)


def add_run(commands):
    one = commands.add_parser('run', help='one pair of sites, once')
    one.add_argument('--a', default='port-restricted', metavar='KIND')
    one.add_argument('--b', default='port-restricted', metavar='KIND')
    one.add_argument('--delay', type=float, default=20, help='ms, one way, of each line')
    one.add_argument('--jitter', type=float, default=0, help='ms')
    one.add_argument('--loss', type=float, default=0, help='0 .. 1, of each line')
    one.add_argument('--seed', type=int, default=1)
    one.add_argument('--json', action='store_true')
    one.set_defaults(function=command_run)


def add_matrix(commands):
    one = commands.add_parser('matrix', help='all pairs of sites: which meet, how, and how soon')
    one.add_argument('kinds', nargs='*', metavar='KIND')
    one.add_argument('--tries', type=int, default=3)
    one.add_argument('--jobs', type=int, default=8, help='labs at the same time')
    one.add_argument('--delay', type=float, default=20, help='ms, one way, of each line')
    one.add_argument('--page', help='write PAGE.md and PAGE.json')
    one.set_defaults(function=command_matrix)


def parse(arguments):
    parser = argparse.ArgumentParser(prog='lab.py', description=__doc__.split(' - ')[1])
    commands = parser.add_subparsers(dest='command', required=True)
    one = commands.add_parser('selftest', help='are the boxes what their names say?')
    one.add_argument('--seed', type=int, default=1)
    one.set_defaults(function=command_selftest)
    one = commands.add_parser('smoke', help='the cases every commit must pass')
    one.add_argument('case', nargs='*')
    one.set_defaults(function=command_smoke)
    one = commands.add_parser('doctor', help='is knothole doctor right about every box?')
    one.add_argument('kind', nargs='*')
    one.set_defaults(function=command_doctor)
    one = commands.add_parser('demo', help='two people behind two NATs talk')
    one.set_defaults(function=command_demo)
    add_run(commands)
    add_matrix(commands)
    one = commands.add_parser('times', help='a table of how long things take')
    one.add_argument('--tries', type=int, default=5)
    one.add_argument('--delay', type=float, default=20)
    one.set_defaults(function=command_times)
    return parser.parse_args(arguments)


def main():
    network.stop_on_signals()
    options = parse(sys.argv[1:])
    try:
        return options.function(options)
    except (network.LabError, chat.Failure) as error:
        print(f'lab: {error}', file=sys.stderr)
        return 1


if __name__ == '__main__':
    sys.exit(main())
