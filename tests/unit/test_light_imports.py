"""What a call really loads: prediction, `--help` and listing stay free of torch and ray."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = ("torch", "ray", "sklearn", "scipy", "optuna", "onnx", "pandas", "kubernetes")


def loaded_after(code: str, home: str) -> set[str]:
    script = f"import json, sys\n{code}\nprint('LOADED', json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        env={"STRANDLINE_HOME": home, "PATH": "/usr/bin:/bin", "HOME": home},
    )
    line = next(each for each in done.stdout.splitlines() if each.startswith("LOADED "))
    return set(json.loads(line.removeprefix("LOADED ")))


@pytest.mark.parametrize(
    "code",
    [
        "import strandline",
        "import strandline.cli.main",
        "import strandline; strandline.list_models()",
        "import strandline; strandline.predict",
        "import strandline.jobs.predict, strandline.jobs.export, strandline.bundle.runtime",
        "import strandline.jobs.import_dataset, strandline.data.splits",
        "import strandline.adapters.files, strandline.adapters.s3, strandline.adapters.sql",
    ],
)
def test_light_verbs_load_nothing_heavy(code: str, tmp_path: object) -> None:
    heavy = {name for name in loaded_after(code, str(tmp_path)) if name in HEAVY}
    assert not heavy, f"{code!r} loads {sorted(heavy)}"


def test_an_operator_loads_kubernetes_and_nothing_that_learns(tmp_path: object) -> None:
    loaded = loaded_after("import strandline.compose_cluster", str(tmp_path))
    assert {name for name in loaded if name in HEAVY} == {"kubernetes"}
    assert "numpy" not in loaded


def test_the_promised_verbs_are_exported() -> None:
    import strandline

    promised = {"import_dataset", "train", "resume_search", "evaluate", "predict", "export"}
    assert promised <= set(strandline.__all__)
    assert all(callable(getattr(strandline, name)) for name in promised)
