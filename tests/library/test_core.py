"""Errors, digests, keys and the stage registry: what everybody else leans on."""

from __future__ import annotations

import errno
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepzero.core import digests
from stepzero.core.digests import digest_json, digest_sources, import_closure
from stepzero.core.errors import (
    InputError,
    ServiceError,
    SpecError,
    StepzeroError,
    StoreFullError,
    bare,
    did_you_mean,
    is_disk_full,
)
from stepzero.core.keys import Key, make_key
from stepzero.core.stages import STAGES, Engine, Reuse, find_stage

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
PARTS = st.dictionaries(st.text(min_size=1), st.text(), min_size=1, max_size=6)


@given(st.dictionaries(st.text(), JSON))
def test_digest_ignores_the_order_of_keys(value: dict[str, object]) -> None:
    assert digest_json(value) == digest_json(dict(reversed(value.items())))


@given(PARTS, st.data())
def test_every_changed_part_of_a_key_is_named(parts: dict[str, str], data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(parts)))
    changed = {**parts, name: parts[name] + "!"}
    assert Key(parts).changes(changed) == [name]
    assert Key(parts).digest != Key(changed).digest
    less = {key: value for key, value in parts.items() if key != name}
    assert Key(parts).changes(less) == [name] == Key(less).changes(parts)


@given(PARTS)
def test_equal_keys_have_no_changes(parts: dict[str, str]) -> None:
    other = Key(dict(reversed(parts.items())))
    assert other.digest == Key(parts).digest
    assert other.changes(parts) == []


def test_parts_that_are_not_text_count_by_their_json() -> None:
    assert make_key(section={"a": 1, "b": 2}).digest == make_key(section={"b": 2, "a": 1}).digest
    assert make_key(section=[1, 2]).digest != make_key(section=[2, 1]).digest


def test_error_has_four_parts_and_says_whether_to_retry() -> None:
    error = InputError("data file x.csv", value=bare("0 bytes"), allowed="rows", action="land it again")
    assert str(error) == "data file x.csv: got 0 bytes. Allowed: rows. Do: land it again"
    assert error.to_json()["retry"] is False
    assert ServiceError("a", value=1, allowed="b", action="c").to_json()["retry"] is True


def test_long_values_are_cut() -> None:
    assert len(str(StepzeroError("a", value="x" * 10_000, allowed="b", action="c"))) < 300


@pytest.mark.parametrize(
    ("error", "status"), [(SpecError, 2), (InputError, 1), (ServiceError, 75), (StoreFullError, 75), (StepzeroError, 1)]
)
def test_exit_statuses(error: type[StepzeroError], status: int) -> None:
    assert error("a", value=1, allowed="b", action="c").exit_status == status


def test_suggestion_names_the_nearest_or_all() -> None:
    assert did_you_mean("quality_gat", STAGES) == "did you mean 'quality_gate'?"
    assert did_you_mean("zzz", ["b", "a"]) == "one of a, b"


def test_full_disk_is_found_behind_other_errors() -> None:
    error = RuntimeError("py4j says something else")
    error.__cause__ = OSError(errno.ENOSPC, "No space left on device")
    assert is_disk_full(error)
    assert is_disk_full(RuntimeError("java.io.IOException: No space left on device"))
    assert not is_disk_full(OSError(errno.EACCES, "denied"))


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of a user: `own.stage` imports `own.helper` (which imports `own.deep`), not `own.other`."""
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "stage.py").write_text("from .helper import f\nimport json\n")
    (folder / "helper.py").write_text("def f():\n    from own import deep\n    return deep\n")
    (folder / "deep.py").write_text("value = 1\n")
    (folder / "other.py").write_text("raise RuntimeError('nobody imports me')\n")
    monkeypatch.syspath_prepend(tmp_path)
    _forget()
    yield folder
    _forget()


def _forget() -> None:
    """Forget cached sources, as a new process would."""
    for cached in (digests.import_closure, digests.module_path, digests._module_source, digests._imports):
        cached.cache_clear()


def test_closure_follows_imports_within_the_package_only(package: Path) -> None:
    assert import_closure("own.stage") == {"own.stage", "own.helper", "own.deep", "own"}
    assert "own" not in sys.modules, "asking for a digest imported the module"


def test_code_digest_follows_what_is_imported_and_nothing_else(package: Path) -> None:
    before = digest_sources("own.stage")
    (package / "other.py").write_text("x = 1\n")
    _forget()
    assert digest_sources("own.stage") == before
    (package / "deep.py").write_text("value = 2\n")
    _forget()
    assert digest_sources("own.stage") != before


def test_a_stage_of_ours_has_only_its_own_code_in_its_closure() -> None:
    reached = import_closure("stepzero.stages.approve")
    assert "stepzero.core.stages" in reached
    assert not [name for name in reached if name.startswith("stepzero.cli")]


def test_marks_are_read_without_importing() -> None:
    info = find_stage("quality_gate")
    assert (info.engine, info.reuse) == (Engine.SPARK, Reuse.CONTENT)
    assert "quality" in info.sections
    assert find_stage("deploy").reuse is Reuse.NEVER


@pytest.mark.parametrize("name", STAGES)
def test_every_listed_stage_is_there_and_marked(name: str) -> None:
    assert find_stage(name).name == name


def test_unknown_stage_is_told_with_a_suggestion() -> None:
    with pytest.raises(SpecError, match=r"stage prepar: got 'prepar'\. Allowed: did you mean 'prepare'\?"):
        find_stage("prepar")


def test_function_without_a_mark_is_no_stage() -> None:
    with pytest.raises(SpecError, match="a function marked by @stage"):
        find_stage("support.toy:make_plan")


def test_module_that_is_not_there() -> None:
    with pytest.raises(SpecError, match="an importable module"):
        find_stage("nobody_has_this.module:function")
