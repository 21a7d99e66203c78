"""Amounts of CPU and memory, written as Kubernetes writes them: `4`, `500m`, `16Gi`."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import Field, StrictInt, StrictStr, StringConstraints

from strandline.spec.fields import mean

Cpu = Annotated[
    Annotated[StrictInt, Field(ge=1, le=9999)]
    | Annotated[
        StrictStr,
        StringConstraints(
            pattern=r"^([1-9][0-9]{0,5}m|[1-9][0-9]{0,3}(\.[0-9]{1,3})?|0\.[0-9]{0,2}[1-9])$",
            max_length=8,
        ),
    ],
    Field(json_schema_extra={"x-kubernetes-int-or-string": True}),
]
"""CPU cores: a whole number, or text like `500m` and `1.5`."""

Memory = Annotated[
    StrictStr,
    StringConstraints(
        pattern=r"^[1-9][0-9]{0,8}(\.[0-9]{1,3})?(Ki|Mi|Gi|Ti|k|M|G|T)$", max_length=15
    ),
]
"""Bytes with a unit: `512Mi`, `16Gi`."""

mean(Cpu, "CPU cores like 4, 500m or 1.5")
mean(Memory, "an amount of memory with its unit, like 512Mi or 16Gi")

_BYTES = {
    "k": 10**3,
    "M": 10**6,
    "G": 10**9,
    "T": 10**12,
    "Ki": 2**10,
    "Mi": 2**20,
    "Gi": 2**30,
    "Ti": 2**40,
}
_QUANTITY = re.compile(r"([0-9]+(?:\.[0-9]+)?)([A-Za-z]*)")


def parse_cpu(value: int | str) -> float:
    """Return CPU cores as a number: `500m` is 0.5.

    Raises:
        ValueError: the text is no amount of CPU.
    """
    amount, unit = _read(value)
    if unit not in ("", "m"):
        raise ValueError(f"{value!r} is not an amount of CPU: write it like 4 or 500m")
    return amount / 1000 if unit else amount


def parse_memory(text: str) -> int:
    """Return bytes: `1Ki` is 1024.

    Raises:
        ValueError: the text is no amount of memory.
    """
    amount, unit = _read(text)
    if unit not in _BYTES:
        raise ValueError(f"{text!r} is not an amount of memory: write it like 512Mi or 16Gi")
    return int(amount * _BYTES[unit])


def _read(value: Any) -> tuple[float, str]:
    match = _QUANTITY.fullmatch(str(value))
    if match is None:
        raise ValueError(f"{value!r} is not an amount: write it like 4, 500m or 16Gi")
    return float(match[1]), match[2]
