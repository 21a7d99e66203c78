"""Write what is generated from the kinds; `--check` fails when something is out of date."""

from __future__ import annotations

from pathlib import Path

from strandline.cli.generate import generate

if __name__ == "__main__":
    generate(default_map={"root": str(Path(__file__).resolve().parent.parent)})
