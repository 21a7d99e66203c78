#!/usr/bin/env bash
# The whole way through the public commands, on real images, in a home of its own.
set -euo pipefail
home=$(realpath -m "${DEMO_HOME:-.demo}")
images="$home/digits" started=$SECONDS
export STRANDLINE_HOME="$home/home"

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
run() { printf '$ %s\n' "$*"; "$@"; }

say "1. Real images: the 1,797 handwritten digits inside scikit-learn, as PNG class folders"
rm -rf "$home"
mkdir -p "$home"
python tools/demo_digits.py "$images"

# Ten pictures are kept apart, so that the last step predicts what no training saw.
mkdir -p "$home/unseen"
for digit in 0 1 2 3 4 5 6 7 8 9; do
  picture=$(find "$images/$digit" -name '*.png' | sort | tail -n 1)
  mv "$picture" "$home/unseen/is-a-$digit.png"
done

say "2. Import"
run strandline import digits "$images"

say "3. Train: a search over backbones and heads for 45 seconds, then calibrate and evaluate"
run strandline train digits --budget 45s --preset fast --model digits

say "4. Evaluate"
run strandline evaluate digits --report "$home/report.html"

say "5. Predict ten pictures that were kept apart"
run strandline predict digits "$home/unseen"

say "Done in $((SECONDS - started)) s."
cat <<TXT
  Look:        $home/report.html
  Next:        strandline train digits --budget 5m --preset balanced     (with STRANDLINE_HOME=$STRANDLINE_HOME)
               strandline export digits --format onnx --out my-model
  Your images: strandline import birds ~/Pictures/birds    (one folder a label)
TXT
