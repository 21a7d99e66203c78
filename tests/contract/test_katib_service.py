"""A client made of Katib's published definition, against the real server on loopback."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import grpc
import pytest
from tests.servers.katib import Assignments, Controller, compile_client, make_experiment
from tests.servers.loopback import free_port

from strandline.serve.katib import MAX_MESSAGE_BYTES

TRIALS = 500
SPACE: dict[str, dict[str, Any]] = {
    "rate": {"type": "double", "min": "0.00001", "max": "0.1", "distribution": "LOG_UNIFORM"},
    "momentum": {"type": "double", "min": "0.5", "max": "0.99"},
    "decay": {"type": "double", "min": "0", "max": "0.1", "step": "0.005"},
    "layers": {"type": "int", "min": "1", "max": "64"},
    "batch": {"type": "discrete", "list": ["32", "8", "16", "64"]},
    "optimizer": {"type": "categorical", "list": ["sgd", "adam", "ftrl"]},
}


def sphere(given: Assignments) -> float | None:
    """The squared distance from a point of the space; some depths fail."""
    if int(given["layers"]) % 9 == 0:
        return None
    return (
        (math.log10(float(given["rate"])) + 3) ** 2
        + 4 * (float(given["momentum"]) - 0.8) ** 2
        + 100 * (float(given["decay"]) - 0.05) ** 2
        + ((int(given["layers"]) - 20) / 20) ** 2
        + (math.log2(int(given["batch"])) - 4) ** 2 / 4
        + {"sgd": 0.5, "adam": 0.0, "ftrl": 1.0}[given["optimizer"]]
    )


def is_feasible(given: Assignments) -> bool:
    decay = float(given["decay"]) / 0.005
    return (
        list(given) == list(SPACE)
        and 1e-5 <= float(given["rate"]) <= 0.1
        and 0.5 <= float(given["momentum"]) <= 0.99
        and (0 <= decay <= 20 and abs(decay - round(decay)) < 1e-6)
        and (given["layers"].isdigit() and 1 <= int(given["layers"]) <= 64)
        and given["batch"] in SPACE["batch"]["list"]
        and given["optimizer"] in SPACE["optimizer"]["list"]
    )


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> tuple[ModuleType, ModuleType]:
    """(messages, services) as protoc makes them of the published definition."""
    return compile_client(tmp_path_factory.mktemp("client"))


@pytest.fixture(scope="module")
def api(client: tuple[ModuleType, ModuleType]) -> Any:
    return client[0]


class Service:
    """`strandline katib serve` as a process, which may be killed and started again."""

    def __init__(self, services: Any, folder: Path) -> None:
        self._services = services
        self._log = folder / "server.log"
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self.channel: grpc.Channel | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "strandline", "katib", "serve"]
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [*command, "--address", f"127.0.0.1:{self.port}"], stdout=log, stderr=log
            )
        options = [("grpc.max_send_message_length", 2 * MAX_MESSAGE_BYTES)]
        self.channel = grpc.insecure_channel(f"127.0.0.1:{self.port}", options=options)
        grpc.channel_ready_future(self.channel).result(timeout=60)

    def stub(self) -> Any:
        return self._services.SuggestionStub(self.channel)

    def end(self, number: int = signal.SIGKILL) -> int:
        assert self.process is not None
        assert self.channel is not None
        self.channel.close()
        self.process.send_signal(number)
        return self.process.wait(30)

    def log(self) -> str:
        return self._log.read_text("utf-8")


@contextmanager
def serving(client: tuple[ModuleType, ModuleType], folder: Path) -> Iterator[Service]:
    service = Service(client[1], folder)
    service.start()
    try:
        yield service
    finally:
        if service.process is not None and service.process.poll() is None:
            service.end()


@pytest.fixture(scope="module")
def service(
    client: tuple[ModuleType, ModuleType], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    with serving(client, tmp_path_factory.mktemp("service")) as running:
        yield running


def refusal(call: Callable[[], Any]) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    error: Any = caught.value
    return error.code(), error.details()


@pytest.mark.slow
def test_an_experiment_of_500_trials_is_driven_to_its_end(service: Service, api: Any) -> None:
    best = {}
    for algorithm in ("random", "tpe"):
        experiment = make_experiment(api, algorithm, SPACE, random_state="1")
        experiment.spec.max_trial_count = TRIALS
        service.stub().ValidateAlgorithmSettings(
            api.ValidateAlgorithmSettingsRequest(experiment=experiment)
        )
        controller = Controller(api, service.stub, experiment, TRIALS)
        controller.run(sphere)
        given = controller.assignments()
        assert len(given) == TRIALS
        assert all(map(is_feasible, given))
        assert len({tuple(each.items()) for each in given}) == TRIALS
        assert len(controller.values()) < TRIALS, "some trials failed"
        best[algorithm] = min(controller.values())
    assert best["tpe"] < best["random"]


@pytest.mark.slow
def test_a_server_killed_in_the_middle_goes_on_with_the_same_sequence(
    client: tuple[ModuleType, ModuleType], service: Service, api: Any, tmp_path: Path
) -> None:
    experiment = make_experiment(api, "tpe", SPACE)
    undisturbed = Controller(api, service.stub, experiment, 60)
    undisturbed.run(sphere)
    with serving(client, tmp_path) as killed:
        disturbed = Controller(api, killed.stub, experiment, 60)
        for until in (13, 31, 47):
            disturbed.run(sphere, until)
            killed.end(signal.SIGKILL)
            killed.start()
        disturbed.run(sphere)
    assert disturbed.assignments() == undisturbed.assignments()


def test_health_is_told_under_the_names_that_are_asked_for(service: Service) -> None:
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    stub: Any = health_pb2_grpc.HealthStub(service.channel)  # type: ignore[arg-type]  # started
    for name in ("", "api.v1.beta1.Suggestion", "manager.v1beta1.Suggestion"):
        reply = stub.Check(health_pb2.HealthCheckRequest(service=name))
        assert reply.status == health_pb2.HealthCheckResponse.SERVING
    assert refusal(lambda: stub.Check(health_pb2.HealthCheckRequest(service="other")))[0] is (
        grpc.StatusCode.NOT_FOUND
    )


@pytest.mark.parametrize(
    ("algorithm", "settings", "words"),
    [
        ("magic", {}, "choose random"),
        ("tpe", {"depth": "3"}, "no setting 'depth'"),
        ("random", {"random_state": "-3"}, "whole number from 0"),
        ("darts", {}, "not served"),
        ("", {}, "choose random"),
    ],
)
def test_what_cannot_be_searched_is_an_invalid_argument_that_says_what_to_do(
    service: Service, api: Any, algorithm: str, settings: dict[str, str], words: str
) -> None:
    experiment = make_experiment(api, algorithm, SPACE, **settings)
    stub = service.stub()
    for call in (
        lambda: stub.ValidateAlgorithmSettings(
            api.ValidateAlgorithmSettingsRequest(experiment=experiment)
        ),
        lambda: stub.GetSuggestions(
            api.GetSuggestionsRequest(experiment=experiment, current_request_number=1)
        ),
    ):
        code, details = refusal(call)
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert words in details


def test_an_empty_request_is_refused_and_never_unknown(service: Service, api: Any) -> None:
    stub = service.stub()
    assert refusal(lambda: stub.ValidateAlgorithmSettings(api.ValidateAlgorithmSettingsRequest()))[
        0
    ] is (grpc.StatusCode.INVALID_ARGUMENT)
    assert refusal(lambda: stub.GetSuggestions(api.GetSuggestionsRequest()))[0] is (
        grpc.StatusCode.INVALID_ARGUMENT
    )


def test_a_request_beyond_the_limit_is_refused_and_the_next_one_answered(
    service: Service, api: Any
) -> None:
    experiment = make_experiment(api, "random", SPACE)
    request = api.GetSuggestionsRequest(experiment=experiment, current_request_number=1)
    request.trials.add(name="x" * (MAX_MESSAGE_BYTES + 1))
    code, _ = refusal(lambda: service.stub().GetSuggestions(request))
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    del request.trials[:]
    assert len(service.stub().GetSuggestions(request).parameter_assignments) == 1


def test_many_requests_at_once_are_answered_alike_or_told_to_come_again(
    service: Service, api: Any
) -> None:
    experiment = make_experiment(api, "tpe", SPACE)
    controller = Controller(api, service.stub, experiment, 40)
    controller.run(sphere)
    request = api.GetSuggestionsRequest(
        experiment=experiment, trials=controller.trials, current_request_number=3
    )
    calls = [service.stub().GetSuggestions.future(request) for _ in range(40)]
    answers = [call.result() if call.exception() is None else call.code() for call in calls]
    busy = [each for each in answers if each is grpc.StatusCode.UNAVAILABLE]
    replies = [each for each in answers if isinstance(each, api.GetSuggestionsReply)]
    assert len(busy) + len(replies) == 40
    assert all(each == replies[0] for each in replies)
    assert len(service.stub().GetSuggestions(request).parameter_assignments) == 3


def test_a_client_that_gave_up_finds_its_answer_the_next_time(service: Service, api: Any) -> None:
    experiment = make_experiment(api, "strandline-reinforce", SPACE)
    controller = Controller(api, service.stub, experiment, 60)
    controller.run(sphere)
    experiment.name = "asked in a hurry"
    request = api.GetSuggestionsRequest(
        experiment=experiment, trials=controller.trials, current_request_number=1
    )
    code, _ = refusal(lambda: service.stub().GetSuggestions(request, timeout=0.001))
    assert code is grpc.StatusCode.DEADLINE_EXCEEDED
    first, second = (service.stub().GetSuggestions(request, timeout=60) for _ in range(2))
    assert first == second


def test_an_exhausted_space_says_so(service: Service, api: Any) -> None:
    experiment = make_experiment(api, "random", {"n": {"type": "int", "min": "1", "max": "3"}})
    controller = Controller(api, service.stub, experiment, total=4, parallel=1)
    code, details = refusal(lambda: controller.run(lambda given: float(given["n"])))
    assert len(controller.values()) == 3
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "all 3 different trials" in details


def test_sigterm_ends_the_server_in_peace(
    client: tuple[ModuleType, ModuleType], api: Any, tmp_path: Path
) -> None:
    with serving(client, tmp_path) as running:
        experiment = make_experiment(api, "random", SPACE)
        request = api.GetSuggestionsRequest(experiment=experiment, current_request_number=3)
        assert len(running.stub().GetSuggestions(request).parameter_assignments) == 3
        assert running.end(signal.SIGTERM) == 0
        assert running.log() == f"serving on 127.0.0.1:{running.port}\n"


def test_a_signal_that_comes_at_once_is_not_lost(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "strandline", "katib", "serve", "--address", "127.0.0.1:0"]
    for _ in range(3):
        with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
            try:
                assert process.stderr is not None
                assert process.stderr.readline().startswith(b"serving on 127.0.0.1:")
                process.terminate()
                assert process.wait(30) == 0
            finally:
                process.kill()


def test_the_entry_point_of_the_image_serves(
    client: tuple[ModuleType, ModuleType], api: Any
) -> None:
    main = Path(__file__).parents[2] / "services" / "katib-suggestion" / "main.py"
    port = free_port()
    env = {**os.environ, "STRANDLINE_KATIB_ADDRESS": f"127.0.0.1:{port}"}
    with (
        subprocess.Popen(
            [sys.executable, str(main)], env=env, stderr=subprocess.DEVNULL
        ) as process,
        grpc.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        request = api.GetSuggestionsRequest(
            experiment=make_experiment(api, "random", SPACE), current_request_number=2
        )
        try:
            reply = (
                client[1]
                .SuggestionStub(channel)
                .GetSuggestions(request, wait_for_ready=True, timeout=60)
            )
            assert len(reply.parameter_assignments) == 2
            process.terminate()
            assert process.wait(30) == 0
        finally:
            process.kill()


def test_a_taken_port_is_a_clear_error(service: Service) -> None:
    command = [sys.executable, "-m", "strandline", "katib", "serve"]
    done = subprocess.run(
        [*command, "--address", f"127.0.0.1:{service.port}"],
        capture_output=True,
        text=True,
        env={**os.environ, "GRPC_VERBOSITY": "NONE"},
        timeout=120,
    )
    assert done.returncode == 10
    assert "choose a free port" in done.stderr


def test_ours_and_katibs_generated_code_live_in_one_process(api: Any) -> None:
    from strandline.wire.katib import suggestion_pb2 as ours

    theirs = api.Trial(name="t")
    theirs.spec.labels["a"] = "b"
    same = ours.Trial.FromString(theirs.SerializeToString())
    assert (same.name, dict(same.spec.labels)) == ("t", {"a": "b"})
    assert type(same) is not type(theirs)
    assert ours.DESCRIPTOR.package == theirs.DESCRIPTOR.file.package == "api.v1.beta1"
