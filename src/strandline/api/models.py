"""Use models: evaluate, predict, take away, list."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from strandline import compose
from strandline.adapters.agent import list_all
from strandline.api.running import Advance, StopRequested
from strandline.compose import Platform
from strandline.spec.records import ModelVersion

if TYPE_CHECKING:
    from strandline.bundle.answers import Prediction
    from strandline.jobs.evaluate import Evaluation


def evaluate(
    model: str,
    *,
    dataset: str | None = None,
    report: str | Path | None = None,
    progress: Advance | None = None,
    stop_requested: StopRequested | None = None,
    platform: Platform | None = None,
) -> Evaluation:
    """Evaluate a model on the test split of its dataset, or on another dataset.

    Args:
        model: NAME, NAME@VERSION, or the path of a bundle file.
        report: where to write the self-contained HTML report.

    Raises:
        NotFoundError: there is no such model or dataset.
        UnusableDataError: no labeled image is left to evaluate on.
        CorruptArtifactError: the bundle is damaged.
    """
    from strandline.jobs.evaluate import evaluate_model, thumbnails
    from strandline.jobs.models import find_model
    from strandline.learn.report import render_report

    place = platform or compose.local()
    found = find_model(model, place.catalog, place.store)
    evaluation = evaluate_model(
        found,
        dataset,
        store=place.store,
        catalog=place.catalog,
        progress=progress,
        stop_requested=stop_requested,
    )
    if report is not None:
        receipt = found.bundle.receipt
        page = render_report(
            evaluation.scorecard,
            thumbnails(place.store),
            model=found.name,
            dataset=evaluation.dataset,
            facts={
                "Dataset digest": receipt.dataset_digest,
                "Search": receipt.search or "",
                "Candidates tried": str(len(receipt.trials)),
                **{key: str(value) for key, value in receipt.candidate.items()},
            },
        )
        target = Path(report)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(page, encoding="utf-8")
    return evaluation


def predict(
    model: str,
    paths: Sequence[str | Path] | str | Path,
    *,
    threshold: float | None = None,
    workers: int | None = None,
    platform: Platform | None = None,
) -> Iterator[Prediction]:
    """Yield a prediction for each image in `paths` (files and folders), as they come.

    Needs the `serve` extra only. An image that cannot be read has its reason in `error`.

    Args:
        model: NAME, NAME@VERSION, or the path of a bundle file.
        threshold: answer from this score on; the model's own goal if None.

    Raises:
        NotFoundError: there is no such model.
        CorruptArtifactError: the bundle is damaged, or computes something else here.
    """
    from strandline.bundle.runtime import Predictor
    from strandline.jobs.models import find_model, is_bundle_file, open_bundle_file
    from strandline.jobs.predict import predict_paths

    compose.require_extra("serve", ("onnxruntime",))
    if is_bundle_file(model):
        found = open_bundle_file(model)
    else:
        place = platform or compose.local()
        found = find_model(model, place.catalog, place.store)
    several = [paths] if isinstance(paths, str | Path) else paths
    return predict_paths(Predictor(found.bundle), several, threshold=threshold, workers=workers)


def export(
    model: str,
    *,
    out: str | Path,
    format: str = "bundle",  # noqa: A002 – the command line's own word
    force: bool = False,
    platform: Platform | None = None,
) -> Sequence[Path]:
    """Write a model to folder `out` in a form that needs no Strandline; return the files.

    Args:
        format: `bundle`, `onnx`, `torchscript` or `safetensors`.
        force: replace files that are there.

    Raises:
        NotFoundError: there is no such model.
        AlreadyExistsError: a file is there already.
        MissingExtraError: `torchscript` and `safetensors` need the `train` extra.
    """
    from strandline.jobs.export import export_model
    from strandline.jobs.models import find_model

    place = platform or compose.local()
    found = find_model(model, place.catalog, place.store)
    return export_model(found.data, Path(out), format, overwrite=force)


def list_models(*, platform: Platform | None = None) -> list[ModelVersion]:
    """Return the newest version of each model, by name."""
    place = platform or compose.local()
    found: list[ModelVersion] = []
    for resource in list_all(place.catalog, "Model"):
        versions = place.catalog.list_model_versions(resource.name)
        found.extend(versions[-1:])
    return found
