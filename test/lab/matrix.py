# SPDX-License-Identifier: MIT
"""lab/matrix.py - every kind of site against every kind: many labs at the same time, each a process.

A lab mostly waits, so eight of them fit two cores.  A try that fails, hangs or dies is a result like
any other; it is ended after TRY_MAX, and its namespaces go with it.
"""

import concurrent.futures
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time

import network
import page
import sites

TRY_MAX = 150.0  # s, for one try with everything around it
END_MAX = 20.0  # s, for a try that was told to end
START_GAP = 0.3  # s, so that building one lab does not slow what another one measures
HERE = os.path.dirname(os.path.abspath(__file__))


def pairs_of(names):
    unknown = [name for name in names if name not in sites.KINDS]
    if unknown:
        raise network.LabError(f'there is no site called {", ".join(unknown)}; there are '
                               f'{", ".join(sites.KINDS)}')
    chosen = [name for name in sites.KINDS if name in names] if names else list(sites.KINDS)
    return list(itertools.combinations_with_replacement(chosen, 2))


class Runner:
    """Runs tries as processes of their own, and can end them all."""

    def __init__(self, delay):
        self.delay = delay
        self.lock = threading.Lock()
        self.running = set()
        self.stopping = False
        self.start_at = time.monotonic()

    def start(self, a, b, seed):
        command = [sys.executable, os.path.join(HERE, 'lab.py'), 'run', '--json', '--a', a, '--b', b,
                   '--seed', str(seed), '--delay', str(self.delay)]
        with self.lock:
            start_at = max(self.start_at, time.monotonic())
            self.start_at = start_at + START_GAP
        time.sleep(max(0.0, start_at - time.monotonic()))
        with self.lock:
            if self.stopping:
                return None
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                       text=True, preexec_fn=network.die_with_parent)
            self.running.add(process)
            return process

    def attempt(self, a, b, seed):
        """Returns the result of one try; None if we were told to stop."""
        result = {'a': a, 'b': b, 'seed': seed,
                  'expected': sites.expect(sites.KINDS[a], sites.KINDS[b]).how}
        process = self.start(a, b, seed)
        if process is None:
            return None
        try:
            out, err = communicate(process)
        finally:
            with self.lock:
                self.running.discard(process)
        if self.stopping:
            return None
        try:
            return json.loads(out)
        except json.JSONDecodeError:
            return {**result, 'failure': f'the lab broke: {err.strip()[-400:] or "no answer"}'}

    def stop(self):
        with self.lock:
            self.stopping = True
            for process in self.running:
                process.terminate()


def communicate(process):
    try:
        return process.communicate(timeout=TRY_MAX)
    except subprocess.TimeoutExpired:
        process.terminate()
    try:
        return process.communicate(timeout=END_MAX)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.communicate()


class Progress:
    """One line a result, with the time that is left."""

    def __init__(self, total):
        self.total, self.done, self.failed = total, 0, 0
        self.started = time.monotonic()

    def note(self, result):
        self.done += 1
        self.failed += 'failure' in result or 'missed' in result
        spent = time.monotonic() - self.started
        left = spent / self.done * (self.total - self.done)
        print(f'{self.done:>4}/{self.total}  {left / 60:4.1f} min left  {self.failed} failed  '
              f'{result["a"]} x {result["b"]}: {in_short(result)}', flush=True)


def in_short(result):
    if 'failure' in result:
        return 'FAIL ' + result['failure'].split('\n')[0]
    if result['direct'] is not None:
        return f'direct after {result["direct"]} ms by {"/".join(result["transport"])}'
    how = 'by signals only' if result['relayed'] is None else f'relayed after {result["relayed"]} ms'
    return f'MISSED {result["missed"]}; {how}' if 'missed' in result else how


def run_all(tries, jobs, delay):
    """Returns the results in the order of `tries`."""
    runner, progress = Runner(delay), Progress(len(tries))
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        futures = [pool.submit(runner.attempt, *one) for one in tries]
        try:
            for future in concurrent.futures.as_completed(futures):
                progress.note(future.result())
        except BaseException:
            runner.stop()
            pool.shutdown(cancel_futures=True)
            raise
    return [future.result() for future in futures]


def matrix(options):
    """Fails if a pair did not meet as it should, in any try."""
    pairs = pairs_of(options.kinds)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    tries = [(a, b, seed) for seed in range(1, options.tries + 1) for a, b in pairs]
    started = time.time()
    try:
        results = run_all(tries, options.jobs, options.delay)
    finally:
        network.remove_leftovers()
    run = {'date': time.strftime('%Y-%m-%d', time.gmtime(started)), 'tries': options.tries,
           'delay_ms': options.delay, 'seconds': round(time.time() - started),
           'command': command_of(options)}
    cells = page.summarise(pairs, results)
    if options.page:
        page.write(options.page, run, cells, results)
        print(f'written: {options.page}.md and {options.page}.json')
    page.print_summary(run, cells, results)
    return 1 if any(cell['failures'] or cell['missed'] for cell in cells) else 0


def command_of(options):
    kinds = f' KINDS="{" ".join(options.kinds)}"' if options.kinds else ''
    return f'make matrix{kinds}'
