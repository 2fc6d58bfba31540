"""What is worked out about a problem or its weights once, and lives as long as they do."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any


def kept(owner: Any, key: Hashable, make: Callable[[], Any]) -> Any:
    """Return what was made for an immutable object under a key; make it at the first call.

    It is stored in the object: a cache elsewhere would keep its arrays alive.
    """
    store = owner.__dict__.setdefault("_kept", {})
    if key not in store:
        store[key] = make()
    return store[key]
