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
    "import_dataset",
    "list_datasets",
    "list_models",
    "list_searches",
    "predict",
    "resume_search",
    "train",
)
__all__ = ["__version__", *_VERBS]

if TYPE_CHECKING:
    from strandline.api import (
        evaluate as evaluate,
    )
    from strandline.api import (
        export as export,
    )
    from strandline.api import (
        import_dataset as import_dataset,
    )
    from strandline.api import (
        list_datasets as list_datasets,
    )
    from strandline.api import (
        list_models as list_models,
    )
    from strandline.api import (
        list_searches as list_searches,
    )
    from strandline.api import (
        predict as predict,
    )
    from strandline.api import (
        resume_search as resume_search,
    )
    from strandline.api import (
        train as train,
    )


def __getattr__(name: str) -> Any:
    """Load a verb on first use, so that `import strandline` stays quick."""
    if name in _VERBS:
        return getattr(import_module("strandline.api"), name)
    raise AttributeError(f"module 'strandline' has no attribute {name!r}")
