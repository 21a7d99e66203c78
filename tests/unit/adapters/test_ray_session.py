"""Folders of Rays that were killed are swept; those of others are left alone."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

import pytest

from strandline.adapters import ray_session
from strandline.adapters.ray_session import sweep_stale_folders


def make_folder(root: Path, name: str, *, lock: bool = True, age_seconds: float = 0.0) -> Path:
    folder = root / name
    (folder / "session").mkdir(parents=True)
    if lock:
        (folder / "owner.lock").touch()
    made = time.time() - age_seconds
    os.utime(folder, (made, made))
    return folder


def test_the_folder_of_a_process_that_is_gone_is_removed(tmp_path: Path) -> None:
    folder = make_folder(tmp_path, "strandline-ray-1")
    sweep_stale_folders(tmp_path)
    assert not folder.exists()


def test_the_folder_of_a_process_that_lives_stays(tmp_path: Path) -> None:
    folder = make_folder(tmp_path, "strandline-ray-1", age_seconds=1e6)
    with (folder / "owner.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        sweep_stale_folders(tmp_path)
        assert folder.exists()
    sweep_stale_folders(tmp_path)
    assert not folder.exists()


@pytest.mark.parametrize(("age_seconds", "stays"), [(0.0, True), (3600.0, False)])
def test_a_folder_without_a_lock_stays_while_it_may_be_in_the_making(
    tmp_path: Path, age_seconds: float, stays: bool
) -> None:
    folder = make_folder(tmp_path, "strandline-ray-1", lock=False, age_seconds=age_seconds)
    sweep_stale_folders(tmp_path)
    assert folder.exists() == stays


def test_folders_of_other_names_and_links_are_left_alone(tmp_path: Path) -> None:
    other = make_folder(tmp_path, "somebody-else", age_seconds=1e6)
    (tmp_path / "strandline-ray-link").symlink_to(other)
    sweep_stale_folders(tmp_path)
    assert (other / "session").exists()
    assert (tmp_path / "strandline-ray-link").is_symlink()


def test_what_another_user_owns_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_folder(tmp_path, "strandline-ray-1")
    monkeypatch.setattr(os, "getuid", lambda: folder.stat().st_uid + 1)
    sweep_stale_folders(tmp_path)
    assert folder.exists()


def test_internals_of_ray_that_moved_are_left_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    from ray._private import parameter, services

    monkeypatch.delattr(services, "start_api_server")
    before = parameter.RayParams
    with ray_session._without_extra_daemons():
        assert parameter.RayParams is not before
        assert not hasattr(services, "start_api_server")
    assert parameter.RayParams is before


def test_the_daemons_a_search_does_not_need_are_still_where_ray_keeps_them() -> None:
    """A new Ray that moved them makes searches start slower: somebody should look."""
    from ray._private import parameter, services

    assert callable(services.start_api_server)
    made = parameter.RayParams()
    assert {"no_monitor", "include_log_monitor"} <= vars(made).keys()
