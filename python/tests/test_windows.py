"""What Windows does otherwise, played here: a file that somebody has open is not replaced."""

import os

import pytest

from clippy_diag import captures


def refusing(monkeypatch, attempts, system):
    """Makes `os.replace` refuse so often; returns the list of its calls."""
    calls = []

    def replace(source, target):
        calls.append((source, target))
        if len(calls) <= attempts:
            raise PermissionError(13, "somebody has it open")

    monkeypatch.setattr(captures, "os", type("System", (), {"name": system, "replace": staticmethod(replace)}))
    monkeypatch.setattr(captures.time, "sleep", lambda _: None)
    return calls


def test_a_file_that_is_open_is_replaced_once_it_is_closed(monkeypatch):
    calls = refusing(monkeypatch, 3, "nt")
    captures.replace_file("a.tmp", "a")
    assert calls == [("a.tmp", "a")] * 4


@pytest.mark.parametrize(("system", "attempts"), [("nt", 8), ("posix", 1)])
def test_one_that_stays_open_is_told(monkeypatch, system, attempts):
    calls = refusing(monkeypatch, 99, system)
    with pytest.raises(PermissionError):
        captures.replace_file("a.tmp", "a")
    assert len(calls) == attempts


def test_json_has_the_same_bytes_on_every_system(tmp_path):
    captures.write_json(os.path.join(tmp_path, "a.json"), {"a": [1, 2]})
    assert b"\r" not in (tmp_path / "a.json").read_bytes()
