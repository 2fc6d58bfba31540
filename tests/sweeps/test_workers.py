"""Who computes a sweep: what is refused in time, what is told on the way and at an interrupt."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

import symkernel as sk
from symkernel import cli
from symkernel.errors import InvalidArgument, SymkernelError
from symkernel.sweeps import progress as progress_module
from symkernel.sweeps import sweep as sweep_module
from tests.sweeps.cells import drawn, fragile

GRID = {"scale": [0.5, 2.0], "name": ["a", "bbb", "cc"]}
ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def server(greeting: bytes):
    """A server that is no scheduler: it takes connections, says its greeting, and waits."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        taken = []

        def serve():
            while True:
                try:
                    one, _ = listening.accept()
                except OSError:
                    return
                taken.append(one)
                one.sendall(greeting)

        threading.Thread(target=serve, daemon=True).start()
        yield f"tcp://127.0.0.1:{listening.getsockname()[1]}"
        for one in taken:
            one.close()


@pytest.mark.parametrize("greeting", [b"", b"SSH-2.0-OpenSSH_9.2\r\n", bytes(64)])
def test_another_server_behind_the_port_is_refused_within_seconds(tmp_path, greeting):
    pytest.importorskip("distributed")
    with server(greeting) as address:
        begun = time.monotonic()
        with pytest.raises(SymkernelError, match="No dask scheduler answers"):
            sk.sweep(drawn, GRID, tmp_path / "kept", scheduler=address, progress=False)
        assert time.monotonic() - begun < 15
    assert not (tmp_path / "kept").exists()


def test_a_worker_is_no_scheduler(tmp_path):
    distributed = pytest.importorskip("distributed")
    cluster = distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None,
        protocol="tcp", host="127.0.0.1",
    )  # fmt: skip
    with cluster:
        address = next(iter(cluster.workers.values())).address
        with pytest.raises(SymkernelError, match="something else"):
            sk.sweep(drawn, GRID, tmp_path / "kept", scheduler=address, progress=False)
    with distributed.LocalCluster(
        n_workers=0, processes=False, dashboard_address=None, protocol="tcp", host="127.0.0.1"
    ) as empty, pytest.raises(SymkernelError, match="has no workers"):  # fmt: skip
        sk.sweep(drawn, GRID, tmp_path / "kept", scheduler=empty.scheduler_address, progress=False)


def test_an_address_that_is_none_leaves_no_exception_behind(tmp_path):
    pytest.importorskip("distributed")
    script = (
        "import sys, symkernel as sk\n"
        "from tests.sweeps.cells import drawn\n"
        "try:\n"
        "    sk.sweep(drawn, {'scale': [1.0], 'name': ['a']}, sys.argv[1], scheduler='nonsense')\n"
        "except sk.errors.SymkernelError as error:\n"
        "    print(error)\n"
    )
    found = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "kept")], cwd=ROOT, capture_output=True,
        text=True, timeout=60, check=True,
    )  # fmt: skip
    assert "No dask scheduler answers at 'nonsense'" in found.stdout
    assert not found.stderr


@pytest.mark.parametrize(
    "options",
    [{"n_jobs": 0}, {"n_jobs": True}, {"scheduler": "nonsense"}, {"backend": "dask"}, {"seed": -1}],
)
def test_what_is_refused_leaves_no_folder(tmp_path, options):
    with pytest.raises((InvalidArgument, SymkernelError)):
        sk.sweep(drawn, GRID, tmp_path / "kept", progress=False, **options)
    assert not (tmp_path / "kept").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["--jobs", "0"],
        ["--scheduler", "nonsense"],
        ["--predictors", "tarot"],
        ["--scales", "-1"],
        ["--seeds", "-1"],
        ["--activation", "z +"],
        ["--hidden", "0"],
        ["--curricula", "none"],
        ["--groups", "1"],
    ],
)
def test_a_refused_study_leaves_no_folder(tmp_path, arguments, capsys):
    out = tmp_path / "out"
    assert cli.main(["study", "multitask", "--out", str(out), *arguments]) == cli.BAD_INPUT
    assert capsys.readouterr().err.strip()
    assert not out.exists()


def test_without_a_terminal_a_line_is_told_now_and_then(tmp_path, monkeypatch, capsys):
    sk.sweep(drawn, GRID, tmp_path / "late", n_jobs=1)
    assert capsys.readouterr().err.splitlines() == ["late: 6 of 6 cells after 0 s"]
    monkeypatch.setattr(progress_module, "_EVERY", 0.0)
    sk.sweep(drawn, GRID, tmp_path / "often", n_jobs=1)
    told = capsys.readouterr().err.splitlines()
    assert [line.split(" cells")[0] for line in told] == [f"often: {k} of 6" for k in range(1, 7)]
    sk.sweep(drawn, GRID, tmp_path / "often")
    sk.sweep(drawn, GRID, tmp_path / "silent", progress=False)
    assert not capsys.readouterr().err


def test_an_interrupt_says_how_much_is_kept_and_how_to_go_on(tmp_path, monkeypatch, capsys):
    def interrupted(*arguments):
        found = iter(computed(*arguments))
        yield next(found)
        yield next(found)
        raise KeyboardInterrupt

    computed = sweep_module._computed
    monkeypatch.setattr(sweep_module, "_computed", interrupted)
    with pytest.raises(KeyboardInterrupt, match=r"2 of 6 cells are kept in .*same folder to go on"):
        sk.sweep(drawn, GRID, tmp_path / "kept", n_jobs=1, progress=False)
    study = ["study", "multitask", "--quick", "--single-steps", "2", "--concurrent-steps", "2"]
    out = str(tmp_path / "out")
    assert cli.main([*study, "--hidden", "4", "--jobs", "1", "--out", out]) == cli.INTERRUPTED
    assert "interrupted: 2 of 4 cells are kept" in capsys.readouterr().err


def test_a_failure_is_counted_but_not_kept_as_a_result(tmp_path, monkeypatch):
    def interrupted(*arguments):
        yield from computed(*arguments)
        raise KeyboardInterrupt

    computed = sweep_module._computed
    monkeypatch.setattr(sweep_module, "_computed", interrupted)
    with pytest.raises(KeyboardInterrupt, match="2 of 3 cells"):
        sk.sweep(fragile, {"k": [0, 1, 2]}, tmp_path, n_jobs=1, progress=False)
