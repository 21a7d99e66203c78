from __future__ import annotations

from pathlib import Path

import pytest

from strandline.data.cpu import usable_cpus


def _files(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text + "\n")
    return root


def _cpus(tmp_path: Path, membership: str, files: dict[str, str], affinity: int = 64) -> int:
    self_file = _files(tmp_path, {"self": membership}) / "self"
    return usable_cpus(_files(tmp_path / "cgroup", files), self_file, affinity)


def test_a_cgroup_v2_quota_is_the_limit(tmp_path: Path) -> None:
    assert _cpus(tmp_path, "0::/pod", {"pod/cpu.max": "200000 100000"}) == 2


def test_a_part_of_a_cpu_is_rounded_up(tmp_path: Path) -> None:
    assert _cpus(tmp_path, "0::/", {"cpu.max": "150000 100000"}) == 2


def test_a_tenth_of_a_cpu_still_gives_one_thread(tmp_path: Path) -> None:
    assert _cpus(tmp_path, "0::/", {"cpu.max": "10000 100000"}) == 1


def test_the_tightest_cgroup_above_counts(tmp_path: Path) -> None:
    files = {"a/cpu.max": "300000 100000", "a/b/cpu.max": "max 100000", "cpu.max": "max 100000"}
    assert _cpus(tmp_path, "0::/a/b", files) == 3


def test_without_a_quota_the_affinity_mask_is_the_limit(tmp_path: Path) -> None:
    assert _cpus(tmp_path, "0::/", {"cpu.max": "max 100000"}, affinity=5) == 5


def test_the_affinity_mask_wins_when_it_is_smaller_than_the_quota(tmp_path: Path) -> None:
    assert _cpus(tmp_path, "0::/", {"cpu.max": "800000 100000"}, affinity=2) == 2


@pytest.mark.parametrize("mount", ["cpu", "cpu,cpuacct"])
def test_a_cgroup_v1_quota_is_the_limit(tmp_path: Path, mount: str) -> None:
    files = {
        f"{mount}/docker/x/cpu.cfs_quota_us": "400000",
        f"{mount}/docker/x/cpu.cfs_period_us": "100000",
    }
    assert _cpus(tmp_path, "4:cpu,cpuacct:/docker/x\n1:name=systemd:/", files) == 4


def test_minus_one_is_no_quota_in_cgroup_v1(tmp_path: Path) -> None:
    files = {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}
    assert _cpus(tmp_path, "1:cpu:/", files, affinity=7) == 7


def test_a_path_of_the_host_falls_back_to_the_mounted_root(tmp_path: Path) -> None:
    assert _cpus(tmp_path, "0::/kubepods/pod1/c1", {"cpu.max": "100000 100000"}) == 1


def test_a_path_never_leads_out_of_the_mount(tmp_path: Path) -> None:
    _files(tmp_path, {"cpu.max": "100000 100000"})
    assert _cpus(tmp_path, "0::/../", {"cpu.max": "max 100000"}, affinity=3) == 3


def test_unreadable_files_leave_the_affinity_mask(tmp_path: Path) -> None:
    files = {"cpu.max": "what is this"}
    assert _cpus(tmp_path, "garbage\n0::/", files, affinity=3) == 3


def test_this_machine_has_at_least_one_cpu() -> None:
    assert usable_cpus() >= 1
