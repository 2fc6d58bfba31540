"""The cache of compiled routines survives processes, races, damage, and folders it cannot use."""

from __future__ import annotations

import errno
import inspect
import json
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import numba
import numpy as np
import pytest

from symkernel.codegen import cache
from symkernel.errors import InvalidArgument

pytestmark = pytest.mark.filterwarnings("error")

ROOT = Path(__file__).resolve().parents[2]

# `helper` declares no signature: numba caches it as a callee. The marked number is looked for in
# the machine code. Killing is left to the module itself, so that the moment is exact.
SOURCE = """
import os, signal
from numba import njit

@njit(cache=True)
def helper(x):
    return 1234.5 * x

@njit("float64(float64)", cache=True)
def first(x):
    return helper(x) + 1.0

if os.environ.get("KILLED") == "between":
    os.kill(os.getpid(), signal.SIGKILL)

@njit(["float64(float64)", "int64(int64)"], cache=True)
def second(x):
    return x + x

if os.environ.get("KILLED") == "after":
    os.kill(os.getpid(), signal.SIGKILL)
"""
STEM = "routine"

# What a process sees: results, how often numba read its files and how often it compiled.
CHILD = """
import json, sys, warnings
from symkernel.codegen.cache import load
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    module = load(sys.stdin.read(), "routine")
stats = [function.stats for function in (module.first, module.second)]
print(json.dumps({
    "value": module.first(2.0),
    "hits": sum(sum(s.cache_hits.values()) for s in stats),
    "misses": sum(sum(s.cache_misses.values()) for s in stats),
    "warnings": [str(w.message) for w in caught],
}))
"""
COMPILED = {"value": 2470.0, "hits": 0, "misses": 3, "warnings": []}
READ = {"value": 2470.0, "hits": 3, "misses": 0, "warnings": []}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Return an absent folder that the cache will make and use."""
    monkeypatch.setenv("SYMKERNEL_CACHE_DIR", str(tmp_path / "cache"))
    cache._warn_not_kept.cache_clear()
    yield tmp_path / "cache"
    forget()


def start(code=CHILD, **variables):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **variables}
    child = subprocess.Popen(
        [sys.executable, "-c", code],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    child.stdin.write(SOURCE)
    child.stdin.close()
    child.stdin = None
    return child


def finish(child):
    output, errors = child.communicate(timeout=60)
    assert child.returncode == 0, errors
    return json.loads(output)


def entries(folder):
    return [path for path in folder.iterdir() if not path.name.startswith(".")]


def forget():
    for name in [name for name in sys.modules if name.startswith(f"{STEM}_")]:
        del sys.modules[name]


def reload(source=SOURCE):
    """Load as a process would that has not met the module yet."""
    forget()
    return cache.load(source, STEM)


def was_read(module):
    return module.first.stats.cache_hits.total() == 1


# ---------------------------------------------------------------- across processes


def test_second_process_reads_what_the_first_compiled(folder):
    assert finish(start()) == COMPILED
    assert finish(start()) == READ


def test_processes_that_compile_at_once_leave_one_sound_entry(folder):
    children = [start() for _ in range(4)]
    for report in map(finish, children):
        assert report["value"] == 2470.0
        assert report["warnings"] == []
    assert len(list(folder.iterdir())) == 1
    assert was_read(reload())


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
@pytest.mark.parametrize("moment", ["between", "after", "copied"])
def test_killed_process_leaves_nothing_that_is_read(folder, moment):
    code = CHILD
    if moment == "copied":  # the sealed folder is in the cache, its rename is not done
        code = (
            "import os, pathlib, signal\n"
            "pathlib.Path.rename = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n" + CHILD
        )
    child = start(code, KILLED=moment, TMPDIR=str(folder.parent))
    child.communicate(timeout=60)
    assert child.returncode == -signal.SIGKILL
    left = list(folder.iterdir()) if folder.exists() else []
    assert all(path.name.startswith(".new-") for path in left)

    assert not was_read(reload())
    assert len(entries(folder)) == 1
    assert was_read(reload())


def test_what_killed_processes_left_is_removed_after_a_day(folder):
    old, recent = folder / ".new-old", folder / ".new-recent"
    for left in (old, recent):
        left.mkdir(parents=True)
        (left / "half.py").write_text("def")
    two_days_ago = time.time() - 2 * 86400
    os.utime(old, (two_days_ago, two_days_ago))
    reload()
    assert not old.exists()
    assert recent.exists()


# ---------------------------------------------------------------- damage


def one(entry, pattern):
    return min(entry.rglob(pattern))


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def change_machine_code(entry):
    """Replace the constant 1234.5 in numba's file of the compiled function."""
    (path,) = entry.rglob("*.first-*.nbc")
    before = path.read_bytes()
    after = before.replace(struct.pack("<d", 1234.5), struct.pack("<d", 4321.5))
    assert after != before
    path.write_bytes(after)


DAMAGE = {
    "module truncated": lambda entry: truncate(one(entry, "*.py")),
    "module of another source": lambda entry: one(entry, "*.py").write_text("first = print"),
    "module absent": lambda entry: one(entry, "*.py").unlink(),
    "index truncated": lambda entry: truncate(one(entry, "*.nbi")),
    "index garbage": lambda entry: one(entry, "*.nbi").write_bytes(b"garbage"),
    "index empty": lambda entry: one(entry, "*.nbi").write_bytes(b""),
    "data truncated": lambda entry: truncate(one(entry, "*.nbc")),
    "data garbage": lambda entry: one(entry, "*.nbc").write_bytes(os.urandom(4096)),
    "data absent": lambda entry: one(entry, "*.nbc").unlink(),
    "data with other machine code": change_machine_code,
    "bytecode truncated": lambda entry: truncate(one(entry, "*.pyc")),
    "seal absent": lambda entry: one(entry, "SHA256SUMS").unlink(),
    "seal garbage": lambda entry: one(entry, "SHA256SUMS").write_bytes(b"\xff\x00"),
    "folder empty": lambda entry: (shutil.rmtree(entry), entry.mkdir()),
    "a file in its place": lambda entry: (shutil.rmtree(entry), entry.write_text("no folder")),
}


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """Return a folder with one sound entry, to be copied and damaged."""
    folder = tmp_path_factory.mktemp("sound") / "cache"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SYMKERNEL_CACHE_DIR", str(folder))
        patch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
        patch.setattr(sys, "dont_write_bytecode", False)
        reload()
    return folder


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_damaged_entry_is_replaced(folder, sound, damage):
    shutil.copytree(sound, folder)
    (entry,) = entries(folder)
    damage(entry)
    module = reload()
    assert module.first(2.0) == 2470.0
    assert not was_read(module)
    assert was_read(reload())


def test_entry_that_is_intact_but_does_not_load_is_replaced(folder, sound):
    shutil.copytree(sound, folder)
    (entry,) = entries(folder)
    one(entry, "*.nbi").write_bytes(b"garbage")
    (entry / "SHA256SUMS").write_bytes(cache._checksums(entry))
    assert reload().first(2.0) == 2470.0
    assert was_read(reload())


def test_numba_alone_runs_damaged_machine_code(folder, sound, monkeypatch):
    """The reason for the seal; once this fails, numba has one of its own."""
    shutil.copytree(sound, folder)
    (entry,) = entries(folder)
    change_machine_code(entry)
    monkeypatch.setattr(cache, "_checksums", lambda copy: (copy / "SHA256SUMS").read_bytes())
    module = reload()
    assert was_read(module)
    assert module.first(2.0) == 8644.0


# ---------------------------------------------------------------- folders that cannot be used


def test_folder_that_cannot_be_made_costs_one_warning(folder):
    folder.write_text("a file where the folder should be")
    with pytest.warns(RuntimeWarning, match="SYMKERNEL_CACHE_DIR") as caught:
        modules = [reload(), reload()]
    assert len(caught) == 1
    assert str(folder) in str(caught[0].message)
    assert caught[0].filename == __file__
    assert [module.first(2.0) for module in modules] == [2470.0, 2470.0]
    assert folder.read_text() == "a file where the folder should be"


@pytest.fixture
def refuse(folder, monkeypatch):
    """Return a function that makes the system answer every change of the folder with an error.

    Permissions would not do: root may write anywhere, and tests in containers run as root.
    """

    def start_refusing(number):
        def guarded(call):
            def guard(path, *rest, **options):
                if Path(path).is_relative_to(folder):
                    raise OSError(number, os.strerror(number), str(path))
                return call(path, *rest, **options)

            return guard

        for name in ("mkdir", "rename", "unlink", "rmdir"):
            monkeypatch.setattr(os, name, guarded(getattr(os, name)))

    return start_refusing


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.ENOSPC])
def test_folder_that_cannot_be_written_costs_one_warning(folder, refuse, number):
    folder.mkdir()
    refuse(number)
    with pytest.warns(RuntimeWarning, match=re.escape(os.strerror(number))) as caught:
        modules = [reload(), reload()]
    assert len(caught) == 1
    assert [module.first(2.0) for module in modules] == [2470.0, 2470.0]
    assert not any(map(was_read, modules))
    assert list(folder.iterdir()) == []


def test_entries_of_a_read_only_folder_are_used(folder, sound, refuse):
    shutil.copytree(sound, folder)
    refuse(errno.EROFS)
    assert was_read(reload())


def test_damaged_entry_of_a_read_only_folder_is_passed_over(folder, sound, refuse):
    shutil.copytree(sound, folder)
    (entry,) = entries(folder)
    change_machine_code(entry)
    refuse(errno.EROFS)
    with pytest.warns(RuntimeWarning, match="SYMKERNEL_CACHE_DIR"):
        assert reload().first(2.0) == 2470.0


def test_user_without_home_folder_costs_one_warning(folder, monkeypatch):
    monkeypatch.delenv("SYMKERNEL_CACHE_DIR")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("LOCALAPPDATA", raising=False)

    def home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", home)
    with pytest.warns(RuntimeWarning, match="no home folder"):
        assert reload().first(2.0) == 2470.0


# ---------------------------------------------------------------- the module and its folder


def test_module_keeps_its_source_and_its_identity(folder):
    module = reload()
    assert cache.load(SOURCE, STEM) is module
    assert sys.modules[module.__name__] is module
    assert "1234.5 * x" in inspect.getsource(module.helper.py_func)
    assert (folder / module.__name__ / f"{module.__name__}.py").read_text() == SOURCE


def test_another_source_is_another_module(folder):
    first, other = reload(), cache.load(SOURCE.replace("1234.5", "1.0"), STEM)
    assert (first.first(2.0), other.first(2.0)) == (2470.0, 3.0)
    assert len(entries(folder)) == 2


def test_undeclared_types_are_refused_rather_than_compiled_in_every_process(folder):
    with pytest.raises(TypeError, match="No matching definition"):
        reload().second(np.zeros(2))


@pytest.mark.parametrize("variable", ["CACHE_DIR", "CACHE_LOCATOR_CLASSES"])
def test_settings_of_numba_do_not_move_the_files(folder, monkeypatch, variable):
    elsewhere = {"CACHE_DIR": str(folder.parent / "elsewhere")}.get(variable, "ZipCacheLocator")
    monkeypatch.setattr(numba.config, variable, elsewhere)
    reload()
    assert was_read(reload())
    assert not (folder.parent / "elsewhere").exists()
    assert getattr(numba.config, variable) == elsewhere


def test_source_that_fails_is_not_kept(folder):
    source = SOURCE + "\nraise ZeroDivisionError\n"
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            cache.load(source, STEM)
    assert not folder.exists()
    assert not any(name.startswith(f"{STEM}_") for name in sys.modules)


@pytest.mark.parametrize("stem", ["", "two words", "../up", "a.b"])
def test_stem_must_be_an_identifier(folder, stem):
    with pytest.raises(InvalidArgument, match="Argument 'stem' must be an identifier"):
        cache.load(SOURCE, stem)


@pytest.mark.parametrize(
    ("platform", "variables", "expected"),
    [
        ("linux", {}, "HOME/.cache/symkernel"),
        ("linux", {"XDG_CACHE_HOME": "/xdg"}, "/xdg/symkernel"),
        ("linux", {"XDG_CACHE_HOME": "relative"}, "HOME/.cache/symkernel"),
        ("darwin", {"XDG_CACHE_HOME": "/xdg"}, "HOME/Library/Caches/symkernel"),
        ("win32", {}, "HOME/AppData/Local/symkernel"),
        ("win32", {"LOCALAPPDATA": "/local"}, "/local/symkernel"),
        ("linux", {"SYMKERNEL_CACHE_DIR": "~/mine"}, "HOME/mine"),
        ("linux", {"SYMKERNEL_CACHE_DIR": ""}, "HOME/.cache/symkernel"),
    ],
)
@pytest.mark.skipif(os.name == "nt", reason="the expected paths are POSIX paths")
def test_folder_follows_the_platform(monkeypatch, tmp_path, platform, variables, expected):
    for name in ("SYMKERNEL_CACHE_DIR", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(sys, "platform", platform)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert cache.cache_folder() == Path(expected.replace("HOME", str(tmp_path)))
