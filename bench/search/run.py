"""What search algorithms are worth: tables, many workers, and the time to decide.

Run: python bench/search/run.py [--parts nasbench201,mixed,workers,asha,deciding,functions,
significance] [--seeds 200] [--algorithms a,b]; everything takes about two hours on two cores.
NAS-Bench-201 is read from the development data; another table is named with `--table`.
Results go to results.json and the plots beside this file when `--write` is given.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1]))

from bench.search import (  # noqa: E402  # after the threads
    deciding,
    functions,
    significance,
    tabular,
    workers,
)
from bench.search.results import RESULTS  # noqa: E402

from strandline.data.cpu import usable_cpus  # noqa: E402

PARTS: dict[str, Callable[[Any, ProcessPoolExecutor], Iterator[str]]] = {
    "nasbench201": tabular.compare,
    "mixed": tabular.compare_mixed,
    "workers": workers.compare_parallel,
    "asha": workers.scale_asha,
    "deciding": deciding.measure,
    "functions": functions.compare_functions,
    "significance": significance.compare_with_reference,
}


def main() -> None:
    options = _parse()
    with ProcessPoolExecutor(options.processes) as pool:
        for part in options.parts.split(","):
            print(f"\n## {part}\n", flush=True)
            for line in PARTS[part](options, pool):
                print(line, flush=True)
            if options.write:
                _write(HERE / "results.json")


def _write(path: Path) -> None:
    """Write what was measured, keeping the parts and algorithms that were not."""
    known = json.loads(path.read_text()) if path.is_file() else {}
    for part, found in RESULTS.items():
        known[part] = known.get(part, {}) | json.loads(json.dumps(found))
    path.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    data = Path(os.environ.get("STRANDLINE_TEST_DATA", HERE.parents[2] / "shared" / "data"))
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--algorithms", help="instead of the usual: a,b (functions: a;b)")
    parser.add_argument("--data", type=Path, default=data)
    parser.add_argument("--table", type=Path, help="a parquet table to use instead")
    parser.add_argument("--choices", help="its columns of decisions, a,b,c")
    parser.add_argument("--signal", help="its column to search on")
    parser.add_argument("--test", help="its column to judge by")
    parser.add_argument("--evaluations", help="of the workers part, such as 200,400")
    parser.add_argument(
        "--rules", default="freeze-thaw,asha", help="of the mixed part: early stopping by these"
    )
    parser.add_argument("--datasets", default="cifar10,cifar100", help="of the mixed part")
    parser.add_argument("--signals", help="of the nasbench201 part, such as cifar10-12ep")
    parser.add_argument("--problems", help="of the functions part, a;b;c")
    parser.add_argument("--cache", type=Path, help="where tables of trained models are kept")
    parser.add_argument("--resume", action="store_true", help="functions: keep what was run")
    parser.add_argument("--processes", type=int, default=usable_cpus())
    parser.add_argument("--write", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
