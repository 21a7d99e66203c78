"""Strandline: from a folder of images to a trustworthy prediction.

The verbs are those of the command line::

    import strandline

    strandline.import_dataset("birds", "~/Pictures/birds")
    strandline.train("birds", budget="10m")
    print(strandline.evaluate("birds").scorecard.metrics["precision_at_1"])
    for result in strandline.predict("birds", ["photo.jpg"]):
        print(result)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_VERBS = (
    "evaluate",
    "export",
    "found_cell",
    "import_dataset",
    "list_datasets",
    "list_models",
    "list_searches",
    "predict",
    "resume_search",
    "resume_training",
    "search_progress",
    "train",
)
__all__ = ["__version__", *_VERBS]

if TYPE_CHECKING:
    from strandline.api import (
        evaluate as evaluate,
        export as export,
        found_cell as found_cell,
        import_dataset as import_dataset,
        list_datasets as list_datasets,
        list_models as list_models,
        list_searches as list_searches,
        predict as predict,
        resume_search as resume_search,
        resume_training as resume_training,
        search_progress as search_progress,
        train as train,
    )


def __getattr__(name: str) -> Any:
    """Load a verb on first use, so that `import strandline` stays quick."""
    if name in _VERBS:
        return getattr(import_module("strandline.api"), name)
    raise AttributeError(f"module 'strandline' has no attribute {name!r}")
