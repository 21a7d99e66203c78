"""What was measured, for results.json."""

from __future__ import annotations

from typing import Any

RESULTS: dict[str, Any] = {}
