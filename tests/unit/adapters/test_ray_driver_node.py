"""What is told of a Ray that does not take a driver."""

from __future__ import annotations

from pathlib import Path

import pytest

from strandline.adapters.ray_driver_node import _reason


@pytest.mark.parametrize(
    ("log", "reason"),
    [
        ("Traceback\nx.AuthenticationError: no token\nINFO Local node IP\n\n", "no token"),
        ("starting\nended by itself\n", "ended by itself"),
        ("\n", "no message"),
    ],
)
def test_an_error_is_told_whatever_is_printed_after_it(
    tmp_path: Path, log: str, reason: str
) -> None:
    file = tmp_path / "node.log"
    file.write_text(log)
    assert _reason(file).endswith(reason)
