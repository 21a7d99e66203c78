"""What a network costs where it predicts: measured, on the graph that will be exported.

One image at a time on one thread of ONNX Runtime, after a warm-up; weights make no
difference, so it is measured before the network has learned. The median is what to compare
by: it hardly moves when something else runs beside.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import numpy as np

from strandline.cells.family import Plan
from strandline.spec.errors import FailedRunError
from strandline.zoo.cells.image_graph import image_model
from strandline.zoo.cells.network import CellNetwork

_WARM_UPS = 10
_FEWEST_RUNS, _MOST_RUNS = 30, 300
_LONGEST_SECONDS = 2.0


def measure_network(network: CellNetwork, plan: Plan) -> Mapping[str, float]:
    """Return `latency_ms`, `latency_p95_ms` and `model_bytes` of the exported network.

    Raises:
        FailedRunError: ONNX Runtime does not run it.
    """
    import onnxruntime

    graph = image_model(network, plan).SerializeToString()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    image = {"images": np.full((1, plan.image_size, plan.image_size, 3), 128, np.uint8)}
    try:
        session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        seconds = _time(lambda: session.run(None, image))
    except Exception as error:  # onnxruntime's errors share no public base class
        raise FailedRunError(f"the exported network does not run: {error}") from error
    return {
        "latency_ms": 1e3 * float(np.median(seconds)),
        "latency_p95_ms": 1e3 * float(np.quantile(seconds, 0.95)),
        "model_bytes": float(len(graph)),
    }


def _time(run: Callable[[], object]) -> list[float]:
    """Return the seconds of some runs, fewer of slow ones."""
    for _ in range(_WARM_UPS):
        run()
    seconds: list[float] = []
    while len(seconds) < _FEWEST_RUNS or (
        len(seconds) < _MOST_RUNS and sum(seconds) < _LONGEST_SECONDS
    ):
        started = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - started)
    return seconds
