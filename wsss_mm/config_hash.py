"""Which parts of a config decide a result, and their hash."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

# How a thing is computed, not what comes out.
_INDIFFERENT = {'num_workers', 'persistent_workers', 'pin_memory', 'prefetch_factor', 'out_dir', 'backend_args',
                'labels_made_by', '_scope_'}


def plain(value: Any) -> Any:
    """A config value as JSON types, without the keys that change no result."""
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in sorted(value.items(), key=lambda kv: str(kv[0]))
                if k not in _INDIFFERENT}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, type) or callable(value):
        return f'{value.__module__}.{value.__qualname__}'
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)


def settings_of(cfg: Mapping[str, Any], keys: Iterable[str]) -> dict[str, str]:
    """A short hash per top-level key, so that a change can be named."""
    return {k: digest(plain(cfg[k])) for k in keys if k in cfg}


def digest(value: Any) -> str:
    """Sixteen hexadecimal digits of the SHA-256 of a JSON value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]
