"""Import plus embedding against a bare loop with the same decoder and ONNX session.

Both run on all cores, in turns, several rounds in one process. The bare loop is what one
would write by hand: read a file, decode it, run it, on as many threads as there are CPUs;
it hashes nothing, looks for no duplicates, stores and caches nothing. A second round of
embedding the same images must compute none.

    python bench/embedding/run.py --rounds 3 --json result.json
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import onnxruntime

from strandline import compose
from strandline.data.cpu import usable_cpus
from strandline.data.decode import decode_image
from strandline.data.embeddings import count_missing, embed
from strandline.data.sources.entries import ReadContext
from strandline.data.versions import read_items
from strandline.jobs.import_dataset import ImportPlace, import_dataset
from strandline.spec.settings import load_settings
from strandline.spec.v1alpha1 import DatasetSource, DatasetSpec
from strandline.zoo.backbones import load_backbone
from strandline.zoo.extractor import FeaturePart, embedding_graph

_SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"


@dataclass(frozen=True)
class Round:
    """Seconds of wall clock and CPU of one round, and what the second embedding computed."""

    images: int
    bare_seconds: float
    bare_cpu_seconds: float
    import_seconds: float
    embed_seconds: float
    import_cpu_seconds: float
    embed_cpu_seconds: float
    computed_again: int
    second_embed_seconds: float

    @property
    def ratio(self) -> float:
        """Throughput of import plus embedding in units of the bare loop's."""
        return self.bare_seconds / (self.import_seconds + self.embed_seconds)

    @property
    def cpu_ratio(self) -> float:
        """The same in CPU time, which other programs on the machine hardly disturb."""
        return self.bare_cpu_seconds / (self.import_cpu_seconds + self.embed_cpu_seconds)


@dataclass(frozen=True)
class Subject:
    """What both sides run."""

    source: Path
    part: FeaturePart
    graph: Path
    digest: str
    dim: int


def main() -> None:
    options = _parse()
    if not options.data.is_dir():
        print(f"there is no {options.data}: name a folder with one folder a class with --data")
        return
    with tempfile.TemporaryDirectory(prefix="bench-embedding-") as scratch:
        folder = Path(scratch)
        part = FeaturePart(options.backbone, options.resolution, options.views)
        backbone = load_backbone(part.backbone, folder / "graphs")
        graph, digest = embedding_graph(part, folder / "graphs")
        source = _take(options.data, options.images, folder / "source")
        subject = Subject(source, part, graph, digest, backbone.dim)
        bare = _bare_loop(subject)
        bare(64)  # warm both the file cache and the threads
        rounds = [_measure(subject, bare, folder / f"home{n}", n) for n in range(options.rounds)]
    print(_table(rounds, part))
    if options.json:
        record = {"part": asdict(part), "cpus": usable_cpus(), "rounds": [*map(asdict, rounds)]}
        options.json.write_text(json.dumps(record, indent=2) + "\n")


def _measure(subject: Subject, bare: Callable[[int | None], int], home: Path, number: int) -> Round:
    """Measure both sides, the other one first in every other round."""
    results: dict[str, float] = {}
    images = 0
    for side in ("bare", "ours") if number % 2 == 0 else ("ours", "bare"):
        if side == "bare":
            with _timed(results, "bare"):
                images = bare(None)
        else:
            _import_and_embed(subject, home, results)
    shutil.rmtree(home)
    return Round(
        images=images,
        bare_seconds=results["bare"],
        bare_cpu_seconds=results["bare cpu"],
        import_seconds=results["import"],
        embed_seconds=results["embed"],
        import_cpu_seconds=results["import cpu"],
        embed_cpu_seconds=results["embed cpu"],
        computed_again=int(results["missing"]),
        second_embed_seconds=results["again"],
    )


def _import_and_embed(subject: Subject, home: Path, results: dict[str, float]) -> None:
    platform = compose.local(load_settings({"STRANDLINE_HOME": str(home)}))
    with _timed(results, "import"):
        _import(subject.source, platform)
        version = platform.catalog.get_dataset_version("bench")
        images = [item.image for item in read_items(platform.store, version)]
    cache, views = platform.settings.cache_dir, subject.part.views

    def run() -> None:
        embed(platform.store, images, subject.graph, subject.digest, subject.dim, cache, views)

    with _timed(results, "embed"):
        run()
    results["missing"] = count_missing(images, subject.digest, subject.dim, cache, views)
    with _timed(results, "again"):
        run()


def _import(source: Path, platform: compose.Platform) -> None:
    place = ImportPlace(
        platform.store, platform.catalog, platform.clock, platform.settings.runs_dir / "import"
    )
    spec = DatasetSpec(source=DatasetSource(uri=str(source)))
    import_dataset("bench", spec, place, ReadContext())


def _bare_loop(subject: Subject) -> Callable[[int | None], int]:
    """Return a function that decodes and runs the first n images and returns their number."""
    cpus = usable_cpus()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(subject.graph), options)
    files = sorted(path for path in subject.source.rglob("*") if path.is_file())

    def one(path: Path) -> object:
        pixels = decode_image(path.read_bytes()).pixels
        return session.run(None, {"images": pixels[np.newaxis]})[0]

    def run(count: int | None) -> int:
        with ThreadPoolExecutor(cpus) as pool:
            return sum(1 for _ in pool.map(one, files[:count]))

    return run


@contextmanager
def _timed(results: dict[str, float], name: str) -> Iterator[None]:
    """Add wall-clock and CPU seconds, children that ended included."""
    wall, before = time.perf_counter(), os.times()
    yield
    after = os.times()
    results[name] = time.perf_counter() - wall
    results[f"{name} cpu"] = sum(after[:4]) - sum(before[:4])


def _take(data: Path, count: int | None, target: Path) -> Path:
    """Return the folder of all images, or a copy with the first of every class."""
    if count is None:
        return data
    folders = sorted(path for path in data.iterdir() if path.is_dir())
    for folder in folders:
        (target / folder.name).mkdir(parents=True)
        for file in sorted(folder.iterdir())[: max(1, count // len(folders))]:
            shutil.copy(file, target / folder.name / file.name)
    return target


def _table(rounds: list[Round], part: FeaturePart) -> str:
    lines = [
        f"{part.backbone}, {part.resolution} px, {part.views} view(s), {rounds[0].images} images, "
        f"{usable_cpus()} CPUs",
        "",
        "| round | bare loop, images/s | import + embed, images/s | ratio "
        "| CPU ms an image: bare loop | import | embed | ratio of CPU time | computed again |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for number, one in enumerate(rounds, start=1):
        ours = one.images / (one.import_seconds + one.embed_seconds)
        bare_ms, import_ms, embed_ms = (
            f"{1000 * seconds / one.images:.2f}"
            for seconds in (one.bare_cpu_seconds, one.import_cpu_seconds, one.embed_cpu_seconds)
        )
        lines.append(
            f"| {number} | {one.images / one.bare_seconds:.1f} | {ours:.1f} | {one.ratio:.3f} "
            f"| {bare_ms} | {import_ms} | {embed_ms} | {one.cpu_ratio:.3f} | {one.computed_again} |"
        )
    ratios = [one.ratio for one in rounds]
    lines += ["", f"ratio: median {statistics.median(ratios):.3f}, "]
    lines[-1] += f"from {min(ratios):.3f} to {max(ratios):.3f}"
    return "\n".join(lines)


def _parse() -> argparse.Namespace:
    data = Path(os.environ.get("STRANDLINE_TEST_DATA") or _SHARED) / "ucmerced"
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--data", type=Path, default=data, help="folder with one folder a class")
    parser.add_argument("--images", type=int, help="about so many instead of all")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--backbone", default="efficientnet-lite0")
    parser.add_argument("--resolution", type=int, default=224)
    parser.add_argument("--views", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write the measurements there")
    return parser.parse_args()


if __name__ == "__main__":
    main()
