"""The only wiring: settings in, ports out.

Everything heavy is imported inside the function that needs it, so that `--help` and
predicting stay fast and work without the `train` extra.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from typing import TYPE_CHECKING

from strandline.adapters.clock import SystemClock
from strandline.adapters.sql import open_catalog
from strandline.adapters.stores import open_store
from strandline.ports import Catalog, Clock, ObjectStore, TrialRunner
from strandline.spec.errors import MissingExtraError
from strandline.spec.settings import Settings, load_settings

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True, slots=True)
class Platform:
    """The ports of one place, ready to use."""

    settings: Settings
    store: ObjectStore
    catalog: Catalog
    clock: Clock


def local(settings: Settings | None = None) -> Platform:
    """Open the store and catalog that `settings` (default: the environment) name."""
    chosen = settings or load_settings()
    chosen.home.mkdir(parents=True, exist_ok=True, mode=0o700)
    return Platform(
        settings=chosen,
        store=open_store(chosen.store_url, chosen.s3),
        catalog=open_catalog(chosen.catalog_url),
        clock=SystemClock(),
    )


def trial_runner(platform: Platform, search_uid: str) -> TrialRunner:
    """Return the runner that trains on this machine's Ray.

    Raises:
        MissingExtraError: the `train` extra is not installed.
    """
    require_extra("train", ("ray", "torch", "sklearn", "onnx"))
    from strandline.adapters.ray_tune import RayTuneRunner

    return RayTuneRunner(platform.settings.runs_dir / f"search-{search_uid}")


def require_extra(extra: str, modules: Iterable[str]) -> None:
    """Check that what `extra` installs is there.

    Raises:
        MissingExtraError: it is not; the message says how to install it.
    """
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingExtraError(
            f"this needs {', '.join(missing)}, which are not installed: "
            f"run `pip install 'strandline[{extra}]'`"
        )
