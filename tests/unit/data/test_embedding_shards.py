from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from strandline.data.embedding_shards import Features, ShardFolder
from strandline.spec.records import digest_of


def _images(count: int) -> list[str]:
    return [digest_of(bytes([number])) for number in range(count)]


def _features(count: int, views: int = 2, dim: int = 3) -> Features:
    values = np.random.default_rng(0).normal(size=(count, views, dim))
    return values.astype(np.float32)


def _folder(path: Path, views: int = 2, dim: int = 3) -> ShardFolder:
    folder = ShardFolder(path, views, dim)
    folder.refresh()
    return folder


def _gathered(folder: ShardFolder, images: list[str]) -> Features:
    out = np.full((len(images), folder.views, folder.dim), np.nan, np.float32)
    folder.gather(images, out)
    return out


def test_what_was_appended_is_read_back_exactly_in_any_order(tmp_path: Path) -> None:
    images, features = _images(4), _features(4)
    writer = _folder(tmp_path)
    writer.append(images[:3], features[:3])
    writer.append(images[3:], features[3:])
    order = [3, 0, 2, 2, 1]
    read = _gathered(_folder(tmp_path), [images[i] for i in order])
    np.testing.assert_array_equal(read, features[order])


def test_a_writer_sees_its_own_shard_without_reading_the_folder_again(tmp_path: Path) -> None:
    folder = _folder(tmp_path)
    folder.append(_images(1), _features(1))
    assert _images(1)[0] in folder


def test_nothing_to_append_writes_no_shard(tmp_path: Path) -> None:
    _folder(tmp_path).append([], [])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("position", [3, 130, -1])
def test_a_shard_with_a_flipped_bit_is_removed(tmp_path: Path, position: int) -> None:
    _folder(tmp_path).append(_images(2), _features(2))
    (shard,) = tmp_path.glob("*.shard")
    content = bytearray(shard.read_bytes())
    content[position] ^= 1
    shard.write_bytes(content)
    assert _images(1)[0] not in _folder(tmp_path)
    assert not shard.exists()


def test_a_truncated_shard_is_removed(tmp_path: Path) -> None:
    _folder(tmp_path).append(_images(2), _features(2))
    (shard,) = tmp_path.glob("*.shard")
    shard.write_bytes(shard.read_bytes()[:-1])
    assert _images(1)[0] not in _folder(tmp_path)


def test_a_shard_of_another_shape_is_not_taken_for_this_one(tmp_path: Path) -> None:
    _folder(tmp_path, views=1, dim=6).append(_images(1), _features(1, views=1, dim=6))
    assert _images(1)[0] not in _folder(tmp_path, views=2, dim=3)


def test_files_of_killed_writers_are_ignored_and_removed(tmp_path: Path) -> None:
    (tmp_path / ".writing-abc").write_bytes(b"half a shard")
    folder = _folder(tmp_path)
    folder.remove_unfinished()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_was_deleted_is_made_again(tmp_path: Path) -> None:
    folder = _folder(tmp_path / "gone" / "twice")
    folder.append(_images(1), _features(1))
    assert _images(1)[0] in _folder(tmp_path / "gone" / "twice")
