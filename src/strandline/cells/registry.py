"""The names under which architecture spaces are found.

Adding one is its file and one line here.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module

from strandline.cells.family import Family
from strandline.spec.errors import InvalidSpecError

FAMILIES = {
    "nasbench201": "strandline.cells.nasbench201:NasBench201",
    "nasnet": "strandline.cells.nasnet:NasNet",
    "darts": "strandline.cells.darts:Darts",
    "mbconv": "strandline.cells.mbconv:MbConv",
}


@cache
def family(name: str) -> Family:
    """Return the architecture space registered as `name`.

    Raises:
        InvalidSpecError: there is none.
    """
    if name not in FAMILIES:
        raise InvalidSpecError(
            f"no architecture space is called {name!r}: choose {', '.join(FAMILIES)}"
        )
    module, _, attribute = FAMILIES[name].partition(":")
    made: Family = getattr(import_module(module), attribute)()
    return made
