"""Published results, one readable file each, in the public API alone.

They live in the folder `derivations/` of the checkout, which this file makes the package's path.
The wheel holds that folder itself in place of this file, so one name serves everywhere.
"""

from __future__ import annotations

from pathlib import Path

__path__ = [str(Path(__file__).resolve().parents[1] / "derivations")]
