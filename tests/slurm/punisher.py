"""Disturbs trainings on the test cluster at random, and measures what that costs.

`python -m tests.slurm.punisher --minutes 60 --every 30 --seed 0` in the root of the repository.
Heads are killed, jobs requeued, preempted, warned and killed, nodes lose their power, the
controller and the database go away. In the end the weights must be those of undisturbed trainings,
and no training may ever have run twice at a time.
"""

import argparse
import random
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from tests.slurm import cluster
from tests.slurm.head import Head, record
from tests.slurm.toy import finished, toy, weights

GPUS = 4
"""Of the test cluster: as many trainings find a place when they have to start again."""
STEP_SECONDS = 0.1
"""Of the toy; a busy machine takes longer."""
AWAY_SECONDS = (2.0, 20.0)
"""How long a node or a daemon stays away."""


class Span(NamedTuple):
    """One process of a training: when it began and ended, and between which steps."""

    begin: float
    end: float
    first: int
    last: int


class Report(NamedTuple):
    """What a campaign did and what it cost."""

    disturbances: Counter[str]
    restarts: int
    lost_seconds: float
    """Of steps that were done again."""
    away_seconds: list[float]
    """From the last step before an interruption to the first after it."""
    training_hours: float
    """From first to last step, over all trainings."""
    useful: float
    """Share of that in steps that were needed."""
    copies: int
    """Trainings that ran twice at a time."""
    trainings: int
    wrong: int
    """Trainings whose weights are not those of undisturbed ones."""

    def __str__(self) -> str:
        did = ", ".join(f"{kind} {count}" for kind, count in sorted(self.disturbances.items()))
        away = self.away_seconds or [0.0]
        rows = {
            "disturbances": f"{self.disturbances.total()} ({did})",
            "restarts of trainings": f"{self.restarts}",
            "failure rate": f"{self.restarts / self.training_hours:.0f} an hour and training",
            "seconds lost in steps done again": f"{self.lost_seconds:.0f}",
            "restart, median and longest": f"{statistics.median(away):.0f} s, {max(away):.0f} s",
            "share of useful time": f"{self.useful:.0%}",
            "trainings that ran twice at a time": f"{self.copies}",
            "trainings with other weights": f"{self.wrong} of {self.trainings}",
        }
        return "\n".join(f"| {name} | {value} |" for name, value in rows.items())


class Campaign:
    """Trainings, the head that waits for them, and the dice."""

    def __init__(
        self, folder: Path, seed: int, minutes: float, every: float, trainings: int = GPUS
    ) -> None:
        self.dice = random.Random(seed)
        self.seconds, self.every = minutes * 60, every
        steps = round(self.seconds / STEP_SECONDS * GPUS / trainings)
        self.trainings = {f"training{number}": steps for number in range(trainings)}
        self.folder = toy(folder, self.trainings, hours=2)
        self.head = Head(self.folder, "all")
        self.done: Counter[str] = Counter()
        self.repairs: list[tuple[float, Callable[[], None]]] = []

    def run(self) -> Report:
        """Disturb for the given time, then let everything end."""
        end, following = time.monotonic() + self.seconds, time.monotonic() + self._pause()
        while self.head.process.poll() != 0:
            if self.head.process.poll() is not None:
                self.head = Head(self.folder, "all")
            now = time.monotonic()
            for due, repair in [one for one in self.repairs if one[0] < now or now > end]:
                self.repairs.remove((due, repair))
                repair()
            if following < now < end:
                following = now + self._pause()
                self._disturb()
            time.sleep(0.5)
        return self._report()

    def _pause(self) -> float:
        return self.dice.expovariate(1 / self.every)

    def _disturb(self) -> None:
        kinds = {
            "head killed": self._kill_head,
            "job requeued": lambda: self._scontrol("requeue"),
            "job warned": lambda: self._signal("USR2"),
            "job killed without a head": self._kill_job,
            "node preempted": self._preempt,
            "node lost": self._lose_node,
            "controller away": lambda: self._away(cluster.stop_controller),
            "database away": lambda: self._away(cluster.stop_database),
        }
        # what needs a whole cluster waits for it
        kind = self.dice.choice(sorted(kinds) if not self.repairs else ["head killed"])
        kinds[kind]()
        self.done[kind] += 1

    def _running(self) -> str:
        """The number of a job that runs, or ran when its head last looked."""
        records = [record(self.folder, f"train/{name}") for name in self.trainings]
        jobs = [str(one["job_id"]) for one in records if one.get("state") == "RUNNING"]
        return self.dice.choice(jobs) if jobs else "0"

    def _scontrol(self, what: str) -> None:
        cluster.attempt("scontrol", what, self._running())

    def _signal(self, name: str) -> None:
        cluster.attempt("scancel", f"--signal={name}", self._running())

    def _kill_head(self) -> None:
        self.head.kill()
        self.head = Head(self.folder, "all")

    def _kill_job(self) -> None:
        job = self._running()
        self.head.kill()
        cluster.attempt("scancel", "--signal=KILL", job)
        self.head = Head(self.folder, "all")

    def _preempt(self) -> None:
        cluster.preempt(self.dice.choice(("g1", "g2")))

    def _lose_node(self) -> None:
        cluster.kill_node(self.dice.choice(("g1", "g2")))
        self._repair()

    def _away(self, stop: Callable[[], None]) -> None:
        stop()
        self._repair()

    def _repair(self) -> None:
        away = self.dice.uniform(*AWAY_SECONDS)
        self.repairs.append((time.monotonic() + away, cluster.start))

    def _report(self) -> Report:
        spans = {name: self._spans(name) for name in self.trainings}
        pairs = [pair for of_one in spans.values() for pair in pairwise(of_one)]
        lost = sum(max(0, before.last - after.first) for before, after in pairs)
        step = statistics.median(
            (span.end - span.begin) / (span.last - span.first)
            for one in spans.values()
            for span in one
            if span.last > span.first
        )
        hours = sum(one[-1].end - one[0].begin for one in spans.values()) / 3600
        needed = sum(self.trainings.values()) * step / 3600
        right = {name: weights(steps) for name, steps in self.trainings.items()}
        there = finished(self.folder)
        return Report(
            disturbances=self.done,
            restarts=len(pairs),
            lost_seconds=lost * step,
            away_seconds=[after.begin - before.end for before, after in pairs],
            training_hours=hours,
            useful=needed / hours,
            copies=sum(after.begin < before.end for before, after in pairs),
            trainings=len(right),
            wrong=sum(there.get(name) != right[name] for name in right),
        )

    def _spans(self, name: str) -> list[Span]:
        """The processes of a training, from its journal: time, process, step."""
        processes: dict[tuple[str, int], list[tuple[float, int]]] = {}
        journal = self.folder / f"results/toy/.runs/{name}.journal"
        starts = 0
        previous = ""
        for line in journal.read_text().splitlines():
            moment, process, step = line.split()
            starts += process != previous
            previous = process
            processes.setdefault((process, starts), []).append((float(moment), int(step)))
        return [
            Span(lines[0][0], lines[-1][0], lines[0][1], lines[-1][1])
            for lines in processes.values()
        ]


def main() -> None:
    """One campaign; the test cluster is started for it and left running."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--every", type=float, default=30, help="mean seconds between two")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--trainings", type=int, default=GPUS)
    asked = parser.parse_args()
    cluster.start()
    folder = Path(tempfile.mkdtemp(prefix="punisher-"), "toy")
    print(Campaign(folder, asked.seed, asked.minutes, asked.every, asked.trainings).run())
    print(f"\nlogs and results: {folder}")


if __name__ == "__main__":
    main()
