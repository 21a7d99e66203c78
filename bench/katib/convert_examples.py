"""Convert every Experiment below a folder, and check that no field of one goes unreported.

Run: python bench/katib/convert_examples.py FOLDER

Meant for Katib's own examples (`examples/v1beta1` of a checkout of github.com/kubeflow/katib):
they are not ours to keep here. Fails when an Experiment does not convert, when the Search
is not valid, or when a leaf of the document is not in the report exactly once.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

from strandline.jobs.katib.convert import convert, is_experiment
from strandline.jobs.katib.fates import Outcome, leaves, shown
from strandline.spec.documents import parse_document
from strandline.spec.errors import InvalidSpecError
from strandline.spec.yaml_text import read_yaml


def main(folder: Path) -> int:
    """Print a table of what was found; return the number of failures."""
    outcomes: Counter[str] = Counter()
    algorithms: Counter[str] = Counter()
    failures = unknown = 0
    for path in sorted(each for each in folder.rglob("*") if each.suffix in (".yaml", ".yml")):
        for document in read_yaml(path.read_bytes(), str(path)):
            if not is_experiment(document.data):
                continue
            try:
                conversion = convert(document.data)
                parse_document(conversion.document)
            except InvalidSpecError as error:
                failures += 1
                print(f"{path}: {error}")
                continue
            told = [f.path for f in conversion.fates if f.outcome is not Outcome.ADDED]
            if told != [shown(place) for place, _ in leaves(document.data)]:
                failures += 1
                print(f"{path}: fields are missing in the report")
            unknown += sum("knows no such field" in fate.note for fate in conversion.fates)
            outcomes.update(fate.outcome.value for fate in conversion.fates)
            algorithms[document.data["spec"]["algorithm"]["algorithmName"]] += 1
    fields = sum(outcomes.values()) - outcomes["added"]
    print(f"{sum(algorithms.values())} Experiments converted, {failures} failures")
    print(", ".join(f"{name} {count}" for name, count in algorithms.most_common()))
    print(f"{fields} fields, {unknown} of them unknown to Strandline")
    print(", ".join(f"{count} {name}" for name, count in outcomes.most_common()))
    return failures


if __name__ == "__main__":
    sys.exit(min(1, main(Path(sys.argv[1]))))
