"""How long Katib waits for a suggestion, by algorithm and number of past trials.

Run: python bench/katib/run.py [ALGORITHM …] (a few minutes).

A real server on loopback, asked through gRPC by a client as Katib's controller asks: each
request carries all past trials and two that run, and wants one suggestion. `next` is the
usual case, one trial more has ended since the request before; `first` is a server that
was just started, which has to learn from all trials anew.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

import grpc

from strandline.search.registry import ALGORITHMS
from strandline.serve.katib import MAX_MESSAGE_BYTES, SuggestionServer
from strandline.wire.katib import suggestion_pb2 as wire, suggestion_pb2_grpc as wire_grpc

PAST = (100, 1_000, 10_000)
NEXT_ASKED, FIRST_ASKED = 15, 3
_LETTERS = ("a", "b", "c", "d")


def make_experiment(algorithm: str) -> wire.Experiment:
    """Ten parameters of all kinds."""
    experiment = wire.Experiment(name="bench")
    experiment.spec.objective.type = wire.MINIMIZE
    experiment.spec.objective.objective_metric_name = "loss"
    experiment.spec.algorithm.algorithm_name = algorithm
    specs = experiment.spec.parameter_specs.parameters
    for place in range(4):
        entry = specs.add(name=f"real{place}", parameter_type=wire.DOUBLE)
        entry.feasible_space.min, entry.feasible_space.max = "0", "1"
    for place in range(3):
        entry = specs.add(name=f"whole{place}", parameter_type=wire.INT)
        entry.feasible_space.min, entry.feasible_space.max = "1", "100"
    for place in range(3):
        entry = specs.add(name=f"word{place}", parameter_type=wire.CATEGORICAL)
        entry.feasible_space.list.extend(_LETTERS)
    return experiment


def make_trials(count: int) -> Iterator[wire.Trial]:
    for number in range(count):
        trial = wire.Trial(name=f"bench-{number:08d}")
        trial.status.condition = wire.TrialStatus.SUCCEEDED
        stamp = time.gmtime(1_700_000_000 + 30 * number)
        trial.status.start_time = time.strftime("%Y-%m-%dT%H:%M:%SZ", stamp)
        trial.status.completion_time = time.strftime("%Y-%m-%dT%H:%M:%SZ", stamp)
        reals = [(number * step % 9973) / 9973 for step in (17, 29, 101, 997)]
        add = trial.spec.parameter_assignments.assignments.add
        for place, real in enumerate(reals):
            add(name=f"real{place}", value=repr(real))
        for place in range(3):
            add(name=f"whole{place}", value=str(number * (7 + place) % 100 + 1))
            add(name=f"word{place}", value=_LETTERS[number // 4**place % 4])
        loss = sum((real - 0.3) ** 2 for real in reals)
        trial.status.observation.metrics.add(name="loss", value=repr(loss))
        yield trial


def ask(stub: Any, algorithm: str, trials: Sequence[wire.Trial]) -> float:
    """Return the seconds that one request takes, seen from the client."""
    request = wire.GetSuggestionsRequest(
        experiment=make_experiment(algorithm), trials=trials, current_request_number=1
    )
    for trial in request.trials[-2:]:
        trial.status.condition = wire.TrialStatus.RUNNING
        trial.status.ClearField("completion_time")
    request.total_request_number = len(trials) + 1
    began = time.perf_counter()
    reply = stub.GetSuggestions(request)
    seconds = time.perf_counter() - began
    assert len(reply.parameter_assignments) == 1
    return seconds


def measure(algorithm: str, past: int) -> tuple[float, float]:
    """Return the medians of `first` and `next`, in seconds."""
    trials = list(make_trials(past + NEXT_ASKED))
    first: list[float] = []
    following: list[float] = []
    for started in range(FIRST_ASKED):
        server = SuggestionServer("127.0.0.1:0")
        options = [("grpc.max_send_message_length", MAX_MESSAGE_BYTES)]
        with grpc.insecure_channel(f"127.0.0.1:{server.port}", options=options) as channel:
            stub = wire_grpc.SuggestionStub(channel)  # type: ignore[no-untyped-call]  # generated
            stub.ValidateAlgorithmSettings(
                wire.ValidateAlgorithmSettingsRequest(experiment=make_experiment(algorithm))
            )
            first.append(ask(stub, algorithm, trials[:past]))
            if started == 0:
                lengths = range(past + 1, past + NEXT_ASKED + 1)
                following = [ask(stub, algorithm, trials[:length]) for length in lengths]
        server.stop(0)
    return statistics.median(first), statistics.median(following)


def main(algorithms: Sequence[str]) -> None:
    print(f"{os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f} before\n")
    columns = [f"{past:,} {which}" for past in PAST for which in ("next", "first")]
    print(f"| algorithm | {' | '.join(columns)} |")
    print("|---|" + "---|" * len(columns))
    for algorithm in algorithms:
        cells = []
        for past in PAST:
            first, following = measure(algorithm, past)
            cells += [f"{1000 * following:.0f} ms", f"{1000 * first:.0f} ms"]
        print(f"| {algorithm} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:] or list(ALGORITHMS))
