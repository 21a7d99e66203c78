"""Check what was installed, from inside the cluster: store, catalog, operator. For `helm test`."""

from __future__ import annotations

import os
import urllib.request

from strandline import compose


def check_store(platform: compose.Platform) -> None:
    """Write an object, read it back, remove it."""
    content = b"helm test " + os.urandom(16)
    digest = platform.store.put(content)
    try:
        assert platform.store.get(digest) == content
    finally:
        platform.store.delete(digest)
    print(f"store {platform.settings.store_url}: written, read, removed")


def check_catalog(platform: compose.Platform) -> None:
    """Read from the catalog; its tables are made if they are not there."""
    count = len(platform.catalog.list_resources("Search", limit=100))
    print(f"catalog: read, {count} searches in schema {platform.settings.catalog_schema}")


def check_operator(address: str) -> None:
    """Ask the operator whether it is ready."""
    with urllib.request.urlopen(f"http://{address}/readyz", timeout=30) as answer:
        print(f"operator {address}: {answer.read().decode().splitlines()[-1]}")


def main() -> None:
    """Check everything; the first thing that is wrong ends it with a traceback."""
    platform = compose.local()
    check_store(platform)
    check_catalog(platform)
    check_operator(os.environ["OPERATOR_ADDRESS"])


if __name__ == "__main__":
    main()
