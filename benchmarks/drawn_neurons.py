"""How many hand-written neurons, drawn at random, are recognised; and whether one of them is read wrongly.

    python -m benchmarks drawn_neurons --count 2000 --seed 0

Each is one linear layer with its neurons, as somebody might have written it (tests/support/styles.py): what it is in
the canonical form is known from the draw. `--faults 20` also plants each fault 20 times: all of these must be refused.
Repeat one with `draw_neuron_alone(SEED)`, or `draw_planted(SEED, FAULT)`. Exit code 1: a wrong reading, or a fault that
was accepted.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch

from tests.support.styles import Style, draw_neuron_alone, draw_planted
from tests.support.styles_judge import Verdict, judge
from tests.support.styles_planted import FAULTS

SHOWN = 10  # wrong readings that are printed whole
REASON = 100  # characters of a refusal that tell reasons apart


@dataclass(frozen=True)
class Tally:
    """How many were recognised, and the seeds of the others with what was said."""

    recognised: int
    refused: dict[int, str]
    wrong: dict[int, str]


def count(seeds: Iterable[int], *, draw: Callable[[int], Style]) -> Tally:
    """Judge what is drawn from each seed."""
    verdicts = {seed: _judged(draw(seed)) for seed in seeds}
    refused = {seed: verdict.words for seed, verdict in verdicts.items() if verdict.kind == "refused"}
    wrong = {seed: verdict.words for seed, verdict in verdicts.items() if verdict.kind == "wrong"}
    return Tally(len(verdicts) - len(refused) - len(wrong), refused, wrong)


def _judged(style: Style) -> Verdict:
    """The verdict; a crash of the tool is as bad as a wrong reading, and ends no run of thousands."""
    try:
        return judge(style)
    except Exception as error:
        return Verdict("wrong", f"a crash, {type(error).__name__}: {error}")


def main() -> int:
    """Print the counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=2000, help="neurons that are drawn (default 2000)")
    parser.add_argument("--seed", type=int, default=0, help="the first seed; the others follow (default 0)")
    parser.add_argument("--faults", type=int, default=0, help="networks of each planted fault (default 0)")
    given = parser.parse_args()
    torch.set_num_threads(1)
    started = time.perf_counter()
    tally = count(range(given.seed, given.seed + given.count), draw=draw_neuron_alone)
    sys.stdout.write(_described(tally, given.count, time.perf_counter() - started))
    accepted = _accepted_faults(range(given.seed, given.seed + given.faults))
    return 1 if tally.wrong or accepted else 0


def _described(tally: Tally, drawn: int, seconds: float) -> str:
    lines = [f"{drawn:,} neurons drawn in {seconds:.0f} s", f"recognised      {tally.recognised:6,}"]
    lines.append(f"refused         {len(tally.refused):6,}")
    reasons: dict[str, list[int]] = {}
    for seed, words in tally.refused.items():
        reasons.setdefault(_reason(words), []).append(seed)
    for reason, seeds in sorted(reasons.items(), key=lambda item: -len(item[1])):
        lines.append(f"    {len(seeds):6,}  {reason} (first: seed {seeds[0]})")
    lines.append(f"wrong readings  {len(tally.wrong):6,}")
    lines += [f"    seed {seed}: {words}" for seed, words in list(tally.wrong.items())[:SHOWN]]
    return "\n".join(lines) + "\n"


def _reason(words: str) -> str:
    """A refusal without its numbers, so that equal reasons are counted together."""
    return re.sub(r"-?\d[\d.e+-]*", "#", " ".join(words.split()))[:REASON]


def _accepted_faults(seeds: range) -> int:
    """Plant each fault in networks of these seeds; how many were not refused."""
    if not seeds:
        return 0
    kinds: Counter[str] = Counter()
    for fault in FAULTS:
        verdicts = [_judged(draw_planted(seed, fault)).kind for seed in seeds]
        kinds[fault] = sum(kind != "refused" for kind in verdicts)
        sys.stdout.write(f"fault {fault:<18}{kinds[fault]:4} of {len(verdicts)} accepted\n")
    return kinds.total()


if __name__ == "__main__":
    sys.exit(main())
