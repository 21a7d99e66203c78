"""What the page on searches shows runs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from strandline.adapters import ray_session  # noqa: F401 – sets what Ray reads, before Ray

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "search.md").read_text("utf-8")
PYTHON = re.findall(r"```python\n(.*?)```", PAGE, re.S)


def test_the_tuner_shown_asks_our_algorithm_for_candidates_of_the_space_shown() -> None:
    names: dict[str, Any] = {}
    exec(compile(PYTHON[0], "search.md", "exec"), names)
    chosen = names["tuner"]._local_tuner._tune_config
    searcher = chosen.search_alg
    assert searcher.set_search_properties(chosen.metric, chosen.mode, {})
    for number in range(5):
        candidate = searcher.suggest(f"trial_{number}")
        names["space"].validate(candidate)
        loss = (candidate["rate"] - 0.1) ** 2 + candidate.get("dropout", 0.1)
        searcher.on_trial_complete(f"trial_{number}", result={"loss": loss})
    assert searcher.get_state()["next"] == 5
