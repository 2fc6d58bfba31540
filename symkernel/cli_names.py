"""What a name on the command line stands for: a law, a published derivation, a file."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import pkgutil
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple

from symkernel.errors import InvalidArgument, did_you_mean

if TYPE_CHECKING:
    from symkernel.formula import Law
    from symkernel.problem_file import ProblemFile

LAW_PREFIX = "law:"
_FILE_SUFFIX = ".toml"


def derivation_names() -> tuple[str, ...]:
    """Return the names of the published derivations, without loading them."""
    package = importlib.import_module("symkernel.derivations")
    found = (one.name for one in pkgutil.iter_modules(package.__path__))
    return tuple(sorted(name for name in found if not name.startswith("_")))


def title_of(name: str) -> str:
    """Return the first line of a derivation's docstring, read without running it."""
    spec = importlib.util.find_spec(f"symkernel.derivations.{name}")
    source = spec.loader.get_source(spec.name) if spec and spec.loader else None  # type: ignore[attr-defined]
    text = ast.get_docstring(ast.parse(source)) if source else None
    return text.splitlines()[0] if text else ""


class Found(NamedTuple):
    """What a name stands for: exactly one of these."""

    law: Law | None = None
    module: ModuleType | None = None
    file: ProblemFile | None = None


def find(name: str) -> Found:
    """Return what a listed name or a file stands for; no other text is loaded."""
    from symkernel.theory import catalogue

    if name.lower().endswith(_FILE_SUFFIX):
        from symkernel.problem_file import load_problem

        return Found(file=load_problem(name))
    laws = {law.name: law for law in catalogue()}
    if name.removeprefix(LAW_PREFIX) in laws and (
        name.startswith(LAW_PREFIX) or name not in derivation_names()
    ):
        return Found(laws[name.removeprefix(LAW_PREFIX)])
    if name in derivation_names():
        return Found(module=importlib.import_module(f"symkernel.derivations.{name}"))
    raise InvalidArgument(
        f"Argument 'NAME' must be a law ({', '.join(laws)}), a derivation "
        f"({', '.join(derivation_names()) or 'none'}) or a file FILE.toml, not {name!r}"
        f"{did_you_mean(name, (*laws, *derivation_names()))}"
    )
