"""A study as it is printed, drawn and written."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from symkernel.studies.folder import claimed


class Study(ABC):
    """What every study shows of itself.

    How, is said by `tables`, `figures` and `store` beside the file of its class: each is loaded
    when it is needed.
    """

    @property
    @abstractmethod
    def about(self) -> Mapping[str, Any]:
        """What makes a study the same one, for its folder."""

    def _beside(self, name: str) -> Any:
        return import_module(f"{type(self).__module__.rpartition('.')[0]}.{name}")

    def __str__(self) -> str:
        text: str = self._beside("tables").summary(self)
        return text

    def latex(self) -> str:
        """Return the tables in LaTeX, which needs the package graphicx."""
        text: str = self._beside("tables").latex_tables(self)
        return text

    def figures(self) -> Mapping[str, Any]:
        """Return the figures by name."""
        drawn: Mapping[str, Any] = self._beside("figures").figures(self)
        return drawn

    def to_xarray(self) -> Any:
        """Return everything that was measured as an ``xarray.Dataset`` with labelled axes."""
        return self._beside("store").dataset(self)

    def save(self, folder: str | Path) -> list[Path]:
        """Write tables, record, figures and all numbers into a folder; return the files.

        The folder is made if there is none.

        Raises
        ------
        InvalidArgument
            If it is neither empty nor of such a study; it is left as it is.
        """
        from symkernel.report.figures import save_figure
        from symkernel.report.files import save
        from symkernel.report.record import save_record
        from symkernel.studies.files import save_numbers

        store, root = self._beside("store"), claimed(folder, self.about)
        path, (data, coords) = root / store.NAME, store.labelled(self)
        written = [
            save(f"{self}\n", path.with_suffix(".txt")),
            save(self.latex(), path.with_suffix(".tex")),
            save_record(store.record(self), path.with_suffix(".json")),
            save_numbers(data, coords, self.to_xarray, path),
        ]
        return written + [
            save_figure(figure, root / f"{name}.{kind}")
            for name, figure in self.figures().items()
            for kind in ("png", "pdf")
        ]
