# SPDX-License-Identifier: MIT
"""lab/page.py - results of the matrix as a page for people and as JSON for programs."""

import collections
import json
import statistics

import sites


def spread(values):
    """Median and worst of those that are known; None if there are none."""
    known = [value for value in values if value is not None]
    return (round(statistics.median(known)), max(known)) if known else None


def summarise(pairs, results):
    """One dict a pair."""
    cells = []
    for a, b in pairs:
        tries = [result for result in results if (result['a'], result['b']) == (a, b)]
        good = [result for result in tries if 'failure' not in result]
        expected = sites.expect(sites.KINDS[a], sites.KINDS[b])
        direct = [result for result in good if result['direct'] is not None]
        relayed = [result for result in good if result['direct'] is None]
        cell = {'a': a, 'b': b, 'expected': expected.how, 'must': expected.must,
                'tries': len(tries), 'direct': len(direct), 'relayed': len(relayed),
                'failures': [result['failure'] for result in tries if 'failure' in result],
                'missed': sum('missed' in result for result in tries),
                'first_words_ms': spread([max(result['first_words'], result['words_back'])
                                          for result in good]),
                'relayed_ms': spread([result['relayed'] for result in good]),
                'direct_ms': spread([result['direct'] for result in direct]),
                'transport': sorted({name for result in good for name in result['transport']}),
                'candidates': sorted({path['candidate'] for result in good
                                      for path in result['paths'] if path})}
        cell['late'] = what_is_late(cell)
        cells.append(cell)
    return cells


def what_is_late(cell):
    """What came later than it ever should; measured on a busy machine it means little.

    Medians are judged over all pairs that meet in the same way: three tries of chance have none."""
    a, b = sites.KINDS[cell['a']], sites.KINDS[cell['b']]
    goals = {'relayed_ms': sites.relay_goal(a, b), 'first_words_ms': sites.words_goal(a, b),
             'direct_ms': sites.GOALS.get(cell['expected'], (None, None))[1]}
    return [f'{key[:-3].replace("_", " ")} {seconds(cell[key])}, not {goal:g} s'
            for key, goal in goals.items() if cell[key] and goal and cell[key][1] > 1000 * goal]


def ways(results):
    """One line for each way to meet, of all tries that did."""
    yield '| | tries | direct | median | 90 % | worst | goal of the median |'
    yield '|---|---|---|---|---|---|---|'
    for how, (goal, _) in sites.GOALS.items():
        tries = [result for result in results if result['expected'] == how]
        times = sorted(result['direct'] for result in tries if result.get('direct') is not None)
        if times:
            shown = ' | '.join(f'{value / 1000:.2f}' for value in
                               (statistics.median(times), times[len(times) * 9 // 10], times[-1]))
            yield f'| {how} | {len(tries)} | {len(times)} | {shown} | {goal:g} |'


def seconds(values):
    return f'{values[0] / 1000:.2f} / {values[1] / 1000:.2f}' if values else '–'


def in_table(cell):
    if cell['failures']:
        return f'**{len(cell["failures"])} of {cell["tries"]} failed**'
    if cell['missed']:
        return f'**{cell["missed"]} of {cell["tries"]} relayed**'
    if cell['relayed'] == 0:
        mark = ' t' if cell['transport'] == ['tcp'] else ''
        return f'{cell["direct_ms"][0] / 1000:.2f}{mark}'
    if cell['direct'] == 0:
        return f'*{cell["relayed_ms"][0] / 1000:.2f} r*' if cell['relayed_ms'] else '*s*'
    return f'{cell["direct"]} of {cell["tries"]}'


def table(cells):
    names = list(dict.fromkeys(cell['a'] for cell in cells))
    known = {(cell['a'], cell['b']): cell for cell in cells}
    yield '| | ' + ' | '.join(str(n + 1) for n in range(len(names))) + ' |'
    yield '|---|' + '---|' * len(names)
    for row, name in enumerate(names):
        filled = [in_table(known[names[n], name]) for n in range(row + 1)]
        yield f'| {row + 1} {name} | ' + ' | '.join(filled + [''] * (len(names) - row - 1)) + ' |'


def pair_by_pair(cells):
    yield '| pair | expected | direct | first words | relayed path | direct path | by |'
    yield '|---|---|---|---|---|---|---|'
    for cell in cells:
        way = ', '.join(cell['transport'] + cell['candidates']) or 'signals'
        yield (f'| {cell["a"]} × {cell["b"]} | {cell["expected"]} | '
               f'{cell["direct"]} of {cell["tries"]} | {seconds(cell["first_words_ms"])} | '
               f'{seconds(cell["relayed_ms"])} | {seconds(cell["direct_ms"])} | {way} |')


def reasons(cells):
    """Relayed pairs, gathered under why they are."""
    found = collections.defaultdict(list)
    for cell in cells:
        if cell['relayed'] and not cell['must']:
            why = sites.expect(sites.KINDS[cell['a']], sites.KINDS[cell['b']]).why
            found[why].append(f'{cell["a"]} × {cell["b"]}')
    for why, names in found.items():
        yield f'- {why}\n  {", ".join(names)}.'


def faults(cells):
    for cell in cells:
        for text in dict.fromkeys(cell['failures']):
            first = text.split('\n')[0]
            yield f'- {cell["a"]} × {cell["b"]}: {first}'
        if cell['missed']:
            yield (f'- {cell["a"]} × {cell["b"]}: {cell["missed"]} of {cell["tries"]} stayed '
                   f'relayed, although {cell["expected"]} should have found a direct path')
        for text in cell['late']:
            yield f'- {cell["a"]} × {cell["b"]}, late: {text}'


def counts(cells):
    must = [cell for cell in cells if cell['must']]
    return {'pairs': len(cells), 'must': len(must),
            'must_direct': sum(cell['direct'] == cell['tries'] for cell in must),
            'others_direct': sum(cell['direct'] == cell['tries'] for cell in cells
                                 if not cell['must']),
            'connected': sum(not cell['failures'] for cell in cells)}


def sentence(cells):
    count = counts(cells)
    return (f'Of {count["pairs"]} pairs physics lets {count["must"]} meet directly; '
            f'{count["must_direct"]} of those did in every try, and {count["others_direct"]} of the\n'
            f'others. {count["connected"]} pairs talked in every try.')


def in_brief(result):
    """Without addresses, which mean nothing outside their lab."""
    kept = ('kind', 'candidate', 'transport')
    return {**result, 'paths': [path and {key: path[key] for key in kept}
                                for path in result.get('paths', [])]}


def write(path, run, cells, results):
    lines = [
        '# Who reaches whom', '',
        f'`{run["command"]}` on {run["date"]}: the real programs in network namespaces, '
        f'{run["tries"]} tries a pair, {run["delay_ms"]:g} ms one way on the',
        f'line of each site, so {2 * run["delay_ms"]:g} ms to the server and back, and '
        f'{4 * run["delay_ms"]:g} ms from site to site and back. The server has a name, two',
        'IPv4 addresses, an IPv6 address, and TLS at port 443. Every try is there as JSON beside this '
        'page; what each pair should', 'manage follows from one table in `test/lab/sites.py`.', '',
        sentence(cells), '', '## The table', '',
        'Median seconds from the later start to the direct path; *r*: relayed, with the time to the '
        'relayed path; *t*: TCP;', '*s*: sealed signals only.', '', *table(cells), '',
        '## By the way they meet', '', 'In seconds from the later start.', '', *ways(results), '',
        '## The kinds', '', '| | |', '|---|---|',
        *(f'| {name} | {sites.KINDS[name].means} |'
          for name in dict.fromkeys(cell['a'] for cell in cells)), '',
        '## Relayed, and why', '', *(list(reasons(cells)) or ['Nobody.']), '',
        '## Pair by pair', '', 'Median / worst, in seconds from the later start.', '',
        *pair_by_pair(cells), '', '## What is not as it should be', '',
        *(list(faults(cells)) or ['Nothing.']), '']
    with open(path + '.md', 'w', encoding='utf-8') as file:
        file.write('\n'.join(lines))
    with open(path + '.json', 'w', encoding='utf-8') as file:
        rows = ',\n'.join(json.dumps(in_brief(result), sort_keys=True) for result in results)
        file.write(f'{{"run": {json.dumps(run)},\n"tries": [\n{rows}\n]}}\n')


def print_summary(run, cells, results):
    print()
    for line in ways(results):
        print(line)
    for line in faults(cells):
        print(line)
    print(sentence(cells))
    print(f'{run["seconds"]} s')
