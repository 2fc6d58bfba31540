from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import symkernel as sk
from symkernel.errors import InvalidArgument, SymkernelError
from symkernel.sweeps import folder as folder_module
from tests.sweeps.cells import counted, drawn, fragile, trained

GRID = {"scale": [0.5, 2.0], "name": ["a", "bbb", "cc"]}
ROOT = Path(__file__).resolve().parents[2]


def contents(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Every file of a folder: when it was made and what it holds."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(p.relative_to(folder)): (p.stat().st_mtime_ns, p.read_bytes()) for p in files}


def run(cell, grid, folder, **options):
    return sk.sweep(cell, grid, folder, progress=False, **options)


# What comes out -----------------------------------------------------------------------------------


def test_values_stand_over_the_grid(tmp_path):
    found = run(drawn, GRID, tmp_path)
    assert found["draw"].shape == (2, 3, 3)
    assert found["length"].tolist() == [[1, 3, 2], [1, 3, 2]]
    assert found["text"].tolist() == [["a", "bbb", "cc"]] * 2
    assert found.seconds.shape == (2, 3)
    assert found.computed == 6
    assert "scale 2, name 3" in repr(found)


def test_every_cell_has_a_stream_of_its_own(tmp_path):
    found = run(drawn, GRID, tmp_path / "one")["draw"] / np.array(GRID["scale"])[:, None, None]
    assert len({draw.tobytes() for draw in found.reshape(6, 3)}) == 6
    other = run(drawn, GRID, tmp_path / "two", seed=1)["draw"]
    assert not (other == found).any()


def test_a_stream_does_not_depend_on_the_rest_of_the_grid(tmp_path):
    whole = run(drawn, GRID, tmp_path / "whole")["draw"]
    part = run(drawn, {"name": ["cc"], "scale": [2.0]}, tmp_path / "part")["draw"]
    assert (part[0, 0] == whole[1, 2]).all()


def test_a_grid_that_grows_has_its_new_cells_computed_alone(tmp_path):
    first = run(drawn, GRID, tmp_path)
    more = run(drawn, {**GRID, "scale": [0.5, 1.0, 2.0]}, tmp_path)
    assert more.computed == 3
    assert (more["draw"][[0, 2]] == first["draw"]).all()


@pytest.mark.parametrize("backend", ["threading", "loky"])
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_results_do_not_depend_on_backend_or_workers(tmp_path, backend, n_jobs):
    grid = {"scale": [0.1, 1.0], "hidden": [3, 7]}
    plain = [[trained_alone(scale, hidden) for hidden in grid["hidden"]] for scale in grid["scale"]]
    found = run(trained, grid, tmp_path, backend=backend, n_jobs=n_jobs)
    assert (found["loss"] == [[cell["loss"] for cell in row] for row in plain]).all()
    assert (found["outputs"] == [[cell["outputs"] for cell in row] for row in plain]).all()


def trained_alone(scale: float, hidden: int):
    from symkernel.sweeps.sweep import _stream

    return trained(_stream({"scale": scale, "hidden": hidden}, 0), scale=scale, hidden=hidden)


def test_labels_reach_xarray(tmp_path):
    pytest.importorskip("xarray")
    found = run(drawn, GRID, tmp_path, dims={"draw": ["place"]}, coords={"place": [1, 2, 3]})
    data = found.to_xarray()
    assert data["draw"].dims == ("scale", "name", "place")
    one = data["draw"].sel(scale=2.0, name="bbb", place=2)
    assert one == found["draw"][1, 1, 1]
    assert run(drawn, GRID, tmp_path).to_xarray()["draw"].dims == ("scale", "name", "draw_0")


# What fails, and what goes on ---------------------------------------------------------------------


def test_a_failure_is_kept_with_its_parameters_and_the_others_go_on(tmp_path, monkeypatch):
    found = run(fragile, {"k": range(6)}, tmp_path)
    assert np.isnan(found["square"][[1, 4]]).all()
    assert found["square"][[0, 2, 3, 5]].tolist() == [0, 4, 9, 25]
    assert [dict(f.parameters) for f in found.failures] == [{"k": 1}, {"k": 4}]
    assert found.failures[0].error == "ValueError: cell 1 is not for me"
    assert "in fragile" in found.failures[0].traceback
    kept = [json.loads(p.read_text()) for p in (tmp_path / "cells").glob("*.json")]
    assert sorted(k["parameters"]["k"] for k in kept) == [1, 4]
    # The next call tries these two again, and no other.
    monkeypatch.setenv("SYMKERNEL_TEST_MENDED", "1")
    again = run(fragile, {"k": range(6)}, tmp_path)
    assert again.computed == 2
    assert not again.failures
    assert again["square"].tolist() == [0, 1, 4, 9, 16, 25]
    assert not list((tmp_path / "cells").glob("*.json"))


def test_where_every_cell_fails_there_are_failures_alone(tmp_path):
    found = run(fragile, {"k": [1, 4]}, tmp_path)
    assert len(found.failures) == 2
    with pytest.raises(InvalidArgument, match="every cell failed"):
        found["square"]


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 not a zip file"])
def test_a_damaged_file_is_computed_again(tmp_path, damage):
    first = run(drawn, GRID, tmp_path)
    next((tmp_path / "cells").glob("*.npz")).write_bytes(damage)
    again = run(drawn, GRID, tmp_path)
    assert again.computed == 1
    assert (again["draw"] == first["draw"]).all()


def test_a_full_disk_loses_nothing_and_leaves_nothing_half_written(tmp_path, monkeypatch):
    real, left = os.replace, [4]

    def full(source, target):
        if str(target).endswith(".npz"):
            left[0] -= 1
            if left[0] < 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(source, target)

    grid = {"k": range(9), "log": [str(tmp_path / "log")]}
    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(SymkernelError, match=r"No space left on device.*call again to go on"):
        run(counted, grid, tmp_path / "kept", n_jobs=1)
    monkeypatch.undo()
    before = contents(tmp_path / "kept")
    assert len(before) == 1 + 4
    found = run(counted, grid, tmp_path / "kept")
    assert found.computed == 5
    after = contents(tmp_path / "kept")
    assert {name: after[name] for name in before} == before


SCRIPT = """
import sys
import symkernel as sk
from tests.sweeps.cells import counted
grid = {"k": range(40), "log": [sys.argv[2]]}
print("ready", flush=True)
sk.sweep(counted, grid, sys.argv[1], progress=False, backend="threading", n_jobs=2)
"""


def test_a_killed_sweep_goes_on_and_computes_nothing_again(tmp_path):
    """Killed at random moments; every file that was there stays as it is, to its last byte."""
    kept, log = tmp_path / "kept", tmp_path / "log"
    stream, seen, kills = np.random.default_rng(1000), {}, 0
    command = [sys.executable, "-c", SCRIPT, str(kept), str(log)]
    while True:
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)
        process.stdout.readline()
        try:
            process.wait(stream.uniform(0.0, 1.2))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
        process.stdout.close()
        cells = contents(kept / "cells") if kept.exists() else {}
        now = {name: held for name, held in cells.items() if not name.startswith(".")}
        assert {name: now[name] for name in seen} == seen
        seen = now
        if process.returncode == 0:
            break
        kills += 1
        assert kills < 60
    assert kills > 0
    # Two workers: at most what they held at each kill, and what waited to be written, came twice.
    calls = log.read_text().split()
    assert set(calls) == set(map(str, range(40)))
    assert len(calls) <= 40 + 6 * kills
    found = run(counted, {"k": range(40), "log": [str(log)]}, kept)
    assert found.computed == 0
    whole = run(counted, {"k": range(40), "log": [str(log)]}, tmp_path / "whole")
    assert (found["draw"] == whole["draw"]).all()
    # What was being written at a kill is nobody's: it goes away after a day.
    for left in (kept / "cells").glob(".*"):
        os.utime(left, (0, 0))
    run(counted, {"k": range(40), "log": [str(log)]}, kept)
    assert not list((kept / "cells").glob(".*"))


def test_an_interrupt_stops_it_and_the_rest_comes_later(tmp_path):
    kept, log = tmp_path / "kept", tmp_path / "log"
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(kept), str(log)], cwd=ROOT,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    process.stdout.readline()
    while not kept.exists() or not list(kept.glob("cells/*.npz")):
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, words = process.communicate(timeout=60)
    assert b"KeyboardInterrupt" in words
    assert 0 < len(list(kept.glob("cells/*.npz"))) < 40
    found = run(counted, {"k": range(40), "log": [str(log)]}, kept)
    assert 0 < found.computed < 40


# A cluster ----------------------------------------------------------------------------------------


def test_two_dask_workers_give_the_same(tmp_path):
    distributed = pytest.importorskip("distributed")
    grid = {"scale": [0.1, 1.0], "hidden": [3, 7]}
    here = run(trained, grid, tmp_path / "here")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    ) as cluster:
        there = run(trained, grid, tmp_path / "there", scheduler=cluster.scheduler_address)
        assert (there["outputs"] == here["outputs"]).all()
        failed = run(
            fragile, {"k": range(3)}, tmp_path / "fail", scheduler=cluster.scheduler_address
        )
    assert failed.failures[0].error == "ValueError: cell 1 is not for me"


def test_a_scheduler_that_is_not_there_is_said_at_once(tmp_path):
    pytest.importorskip("distributed")
    for address in ("tcp://127.0.0.1:9", "nonsense"):
        with pytest.raises(SymkernelError, match="No dask scheduler answers"):
            run(drawn, GRID, tmp_path, scheduler=address)


# What is refused ----------------------------------------------------------------------------------


def closed(stream, scale, name):
    return {"draw": 0.0}


@pytest.mark.parametrize(
    ("cell", "grid", "options", "words"),
    [
        (drawn, {**GRID, "more": [1]}, {}, "cell"),
        (drawn, GRID, {"seed": 3}, "the seed differs"),
        (closed, GRID, {}, "the function, the function's source differ"),
    ],
)
def test_the_folder_of_another_sweep_is_refused_and_untouched(tmp_path, cell, grid, options, words):
    run(drawn, GRID, tmp_path)
    before = contents(tmp_path)
    with pytest.raises(InvalidArgument, match=words):
        run(cell, grid, tmp_path, **options)
    assert contents(tmp_path) == before


def test_a_folder_with_other_files_is_refused_and_untouched(tmp_path):
    (tmp_path / "thesis.tex").write_text("all of it")
    with pytest.raises(InvalidArgument, match="holds other files"):
        run(drawn, GRID, tmp_path)
    assert list(contents(tmp_path)) == ["thesis.tex"]
    with pytest.raises(InvalidArgument, match="must not be the file"):
        run(drawn, GRID, tmp_path / "thesis.tex")


@pytest.mark.parametrize(
    ("grid", "words"),
    [
        ({}, "must map names"),
        ([1], "must map names"),
        ({"scale": [], "name": ["a"]}, "one value at least"),
        ({"scale": [1.0, 1.0], "name": ["a"]}, "each value once"),
        ({"scale": "ab", "name": ["a"]}, "list of values"),
        ({"scale": 1.0, "name": ["a"]}, "list of values"),
        ({"scale": [np.nan], "name": ["a"]}, "finite numbers"),
        ({"scale": [None], "name": ["a"]}, "finite numbers"),
        ({"scale": [sk.Task.from_modes([1.0])], "name": ["a"]}, "build it inside the cell"),
        ({"stream": [1.0]}, "other than 'stream'"),
        ({"two words": [1.0]}, "identifiers"),
    ],
)
def test_what_is_no_grid_is_refused(tmp_path, grid, words):
    with pytest.raises(InvalidArgument, match=words):
        run(drawn, grid, tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"backend": "threads"}, "must be one of"),
        ({"backend": "dask"}, "'scheduler' must be given"),
        ({"backend": "loky", "scheduler": "tcp://127.0.0.1:9"}, "'scheduler' must be given"),
        ({"scheduler": 8786}, "must be an address"),
        ({"n_jobs": 0}, "n_jobs"),
        ({"seed": -1}, "seed"),
        ({"dims": {"draw": ["scale"]}}, "none of them a parameter"),
        ({"dims": {"draw": "place"}}, "different texts"),
        ({"coords": {"place": [1]}}, "'dims' names none"),
        ({"dims": ["place"]}, "must be a mapping"),
    ],
)
def test_bad_options_are_refused(tmp_path, options, words):
    with pytest.raises(InvalidArgument, match=words):
        run(drawn, GRID, tmp_path / "new", **options)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("dims", "coords"),
    [({"draw": ["one", "two"]}, None), ({"other": ["one"]}, None), ({"draw": ["p"]}, {"p": [1]})],
)
def test_labels_that_do_not_fit_are_refused_and_the_cells_stay(tmp_path, dims, coords):
    with pytest.raises(InvalidArgument, match="All cells are on disk"):
        run(drawn, GRID, tmp_path, dims=dims, coords=coords)
    assert run(drawn, GRID, tmp_path).computed == 0


def ragged(stream, k):
    return {"values": np.zeros(k)}


def nothing(stream, k):
    return None


def an_object(stream, k):
    return {"value": object()}


def its_parameter(stream, k):
    return {"k": k}


def test_a_value_called_like_a_parameter_is_refused(tmp_path):
    with pytest.raises(InvalidArgument, match="a parameter already, 'k'"):
        run(its_parameter, {"k": [1]}, tmp_path)


def test_cells_of_different_shapes_are_refused_and_stay(tmp_path):
    with pytest.raises(InvalidArgument, match=r"'values' is \(1,\) at {'k': 1} and \(2,\)"):
        run(ragged, {"k": [1, 2]}, tmp_path)
    assert run(ragged, {"k": [2]}, tmp_path).computed == 0


@pytest.mark.parametrize(
    ("cell", "words"), [(nothing, "named values"), (an_object, "'value' is <object")]
)
def test_what_a_cell_must_not_return_is_its_failure(tmp_path, cell, words):
    found = run(cell, {"k": [1]}, tmp_path)
    assert words in found.failures[0].error


@pytest.mark.parametrize("cell", [None, "drawn", lambda stream: {}])
def test_what_is_no_cell_is_refused(tmp_path, cell):
    with pytest.raises(InvalidArgument, match="Argument 'cell'"):
        run(cell, GRID, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_what_is_not_installed_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"symkernel\[sweep\]"):
        run(drawn, GRID, tmp_path / "new")


def test_a_cell_that_holds_an_error_without_its_file_is_reported(tmp_path):
    """A folder whose notes of a failure were damaged is still read."""
    run(fragile, {"k": [1]}, tmp_path)
    next((tmp_path / "cells").glob("*.json")).write_text("{")
    parameters = {"k": 1}
    outcome = folder_module.Folder(tmp_path).read(parameters)
    assert outcome.error == "unknown"


def test_a_sweep_that_was_killed_before_its_manifest_goes_on(tmp_path):
    begun = tmp_path / "begun"
    (begun / "cells").mkdir(parents=True)
    (begun / ".sweep.json.0123456789abcdef.part").write_text("{")
    assert sk.sweep(drawn, GRID, begun, progress=False).computed
    full = tmp_path / "full"
    (full / "cells").mkdir(parents=True)
    (full / "cells" / "mine.txt").write_text("precious")
    with pytest.raises(InvalidArgument, match="other files"):
        sk.sweep(drawn, GRID, full, progress=False)
