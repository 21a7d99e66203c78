"""Where things are kept and what a run may use, read once from the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from strandline.spec.lanes import LaneGroup, read_lanes


@dataclass(frozen=True, slots=True)
class S3Settings:
    """How to reach an S3 store.

    Keys come from the environment only, so they never stand in a command line.
    """

    endpoint: str = "s3.amazonaws.com"
    region: str | None = None
    access_key: str | None = None
    secret_key: str | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)
    secure: bool = True


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings of one process.

    Attributes:
        home: root of everything a laptop keeps (`STRANDLINE_HOME`, default `~/.strandline`).
        store_url: `file:///…` or `s3://bucket/prefix` (`STRANDLINE_STORE`, and below it
            `STRANDLINE_STORE_PREFIX`, which namespaces of a cluster differ in).
        catalog_url: SQLAlchemy URL (`STRANDLINE_CATALOG`).
        catalog_schema: schema of PostgreSQL that holds the catalog
            (`STRANDLINE_CATALOG_SCHEMA`); the database's default if None.
        ray_address: of a Ray that runs already (`STRANDLINE_RAY_ADDRESS`): HOST:PORT, or
            `auto` on a host that is part of it; None starts one here.
        lanes: what workers trials get there (`STRANDLINE_POOLS`); any CPUs if empty.
        s3: how to reach an `s3://` store (`STRANDLINE_S3_*`, else `AWS_*`).
        source_s3: how to reach `s3://` sources of imports (`STRANDLINE_SOURCE_S3_*`, each
            variable that is absent as for the store); as the store if None.
    """

    home: Path
    store_url: str
    catalog_url: str
    s3: S3Settings = S3Settings()
    catalog_schema: str | None = None
    ray_address: str | None = None
    lanes: tuple[LaneGroup, ...] = ()
    source_s3: S3Settings | None = None

    @property
    def cache_dir(self) -> Path:
        """Recomputable things: exported backbones, embeddings. Safe to delete."""
        return self.home / "cache"

    @property
    def runs_dir(self) -> Path:
        """Logs, checkpoints and lock files of local runs."""
        return self.home / "runs"


def load_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """Read the settings from `environ` (default: the process environment)."""
    env = os.environ if environ is None else environ
    home = Path(env.get("STRANDLINE_HOME") or Path.home() / ".strandline").expanduser().absolute()
    return Settings(
        home=home,
        store_url=_below(
            env.get("STRANDLINE_STORE") or (home / "store").as_uri(),
            env.get("STRANDLINE_STORE_PREFIX") or "",
        ),
        catalog_url=env.get("STRANDLINE_CATALOG") or f"sqlite:///{home / 'catalog.sqlite'}",
        s3=_load_s3(env),
        source_s3=_load_source_s3(env),
        catalog_schema=env.get("STRANDLINE_CATALOG_SCHEMA") or None,
        ray_address=env.get("STRANDLINE_RAY_ADDRESS") or None,
        lanes=read_lanes(env.get("STRANDLINE_POOLS") or ""),
    )


def _below(url: str, prefix: str) -> str:
    return f"{url.rstrip('/')}/{prefix.strip('/')}" if prefix.strip("/") else url


def _load_source_s3(env: Mapping[str, str]) -> S3Settings:
    """Read how sources are reached: as the store is, but for what is said of them."""
    own = {
        name.replace("_SOURCE_", "_"): value
        for name, value in env.items()
        if name.startswith("STRANDLINE_SOURCE_S3_") and value
    }
    if "STRANDLINE_S3_ACCESS_KEY" in own:
        # Keys of one account, and the session token of another, would be nobody's.
        own.setdefault("STRANDLINE_S3_SESSION_TOKEN", "")
        env = {name: value for name, value in env.items() if name != "AWS_SESSION_TOKEN"}
    return _load_s3({**env, **own})


def _load_s3(env: Mapping[str, str]) -> S3Settings:
    endpoint = env.get("STRANDLINE_S3_ENDPOINT") or env.get("AWS_ENDPOINT_URL") or ""
    host = endpoint.removeprefix("https://").removeprefix("http://").rstrip("/")
    return S3Settings(
        endpoint=host or S3Settings().endpoint,
        region=env.get("STRANDLINE_S3_REGION") or env.get("AWS_REGION") or None,
        access_key=env.get("STRANDLINE_S3_ACCESS_KEY") or env.get("AWS_ACCESS_KEY_ID"),
        secret_key=env.get("STRANDLINE_S3_SECRET_KEY") or env.get("AWS_SECRET_ACCESS_KEY"),
        session_token=env.get("STRANDLINE_S3_SESSION_TOKEN")
        or env.get("AWS_SESSION_TOKEN")
        or None,
        secure=not endpoint.startswith("http://"),
    )
