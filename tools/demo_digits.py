"""Write the 1,797 handwritten digits that ship inside scikit-learn as PNG class folders."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits


def main(target: Path) -> None:
    """Write `target/<digit>/<number>.png`, 8x8 gray, scaled from 0…16 to 0…255."""
    digits = load_digits()
    gray = np.round(digits.images * (255 / 16)).astype(np.uint8)
    for number, (picture, label) in enumerate(zip(gray, digits.target, strict=True)):
        folder = target / str(label)
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(folder / f"{number:04d}.png")
    print(f"{len(gray)} images in {target}", file=sys.stderr)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
