# SPDX-License-Identifier: MIT
"""lab/cases.py - plays the cases of one file: all of them, or those named on the command line."""

import concurrent.futures
import subprocess
import sys

import network
from chat import Failure

SKIPPED = 77  # what Meson takes for "not here"


def run_here(case):
    try:
        verdict, text = 'ok  ', case()
    except (Failure, network.LabError, subprocess.SubprocessError) as failure:
        verdict, text = 'FAIL', str(failure)
    print(f'{verdict}  {case.__name__}: {text}', flush=True)
    return verdict == 'ok  '


def run_apart(case):
    """In a process of its own: a lab is called by its process."""
    done = subprocess.run([sys.executable, sys.argv[0], case.__name__], stdout=subprocess.PIPE,
                          text=True, stderr=subprocess.STDOUT,
                          preexec_fn=network.die_with_parent, check=False)
    print(done.stdout, end='', flush=True)
    return done.returncode == 0


def play(cases, lacks=None, at_once=1):
    """Returns the exit code.  lacks: why these cases cannot be played here, or None."""
    network.stop_on_signals()
    why = network.why_impossible() or lacks
    if why:
        print(f'skipped: {why}')
        return SKIPPED
    known = {case.__name__: case for case in cases}
    unknown = [name for name in sys.argv[1:] if name not in known]
    if unknown:
        print(f'there is no case {unknown[0]}; there are {", ".join(known)}', file=sys.stderr)
        return 2
    chosen = [known[name] for name in sys.argv[1:]] or list(cases)
    if len(chosen) == 1 or at_once == 1:
        passed = [run_here(case) for case in chosen]
    else:
        with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
            passed = list(pool.map(run_apart, chosen))
    return 0 if all(passed) else 1
