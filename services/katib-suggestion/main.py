"""Entry point of the suggestion service's image: settings from the environment, nothing else."""

from __future__ import annotations

import logging
import os

from strandline.serve.katib import MAX_MESSAGE_BYTES, run

if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    run(
        os.environ.get("STRANDLINE_KATIB_ADDRESS", "[::]:6789"),
        int(os.environ.get("STRANDLINE_KATIB_MAX_MESSAGE_BYTES", str(MAX_MESSAGE_BYTES))),
        lambda port: logging.info("serving on port %d", port),
    )
