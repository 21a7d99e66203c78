from __future__ import annotations

from pathlib import Path

from strandline.zoo.backbones import REGISTRY

_PAGE = Path(__file__).parents[2] / "docs" / "reference" / "backbones.md"


def test_the_page_lists_exactly_the_backbones_of_the_registry() -> None:
    expected = [
        f"| `{offer.name}` | {offer.dim} | {offer.native_resolution} "
        f"| {', '.join(offer.efforts)} | {offer.license} | {offer.source} |"
        for offer in REGISTRY
    ]
    lines = _PAGE.read_text(encoding="utf-8").splitlines()
    head = lines.index("| --- | --- | --- | --- | --- | --- |")
    listed = lines[head + 1 : lines.index("", head)]
    assert listed == expected
