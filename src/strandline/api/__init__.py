"""The verbs as typed functions: what `import strandline` offers and the commands call.

Each works in the place that the environment names (`STRANDLINE_HOME` and friends) unless
it is given a `Platform`. Records come back; progress goes to the callback given.
"""

from __future__ import annotations

from strandline.api.datasets import import_dataset, list_datasets
from strandline.api.jobs import JobViews, run_job
from strandline.api.models import evaluate, export, list_models, predict
from strandline.api.searches import (
    found_cell,
    list_searches,
    resume_search,
    search_progress,
    train,
)
from strandline.api.trainings import resume_training

__all__ = [
    "JobViews",
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
    "run_job",
    "search_progress",
    "train",
]
