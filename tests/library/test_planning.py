"""What a run freezes: which files, which window, who approves; and the ledger behind it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepzero.adapters.ledger import (
    Accepted,
    Refused,
    accept,
    accepted_batches,
    landed_uris,
    make_batch,
    refuse,
    waiting_uris,
)
from stepzero.adapters.store import Store
from stepzero.core.errors import InputError, SpecError
from stepzero.core.references import Reference
from stepzero.execution.first import plan_record
from stepzero.execution.planning import PlanRequest, commit_plan, make_plan
from stepzero.spec.data import Window
from stepzero.spec.environment import Environment
from stepzero.spec.load import load_use_case
from stepzero.spec.monitors import RetrainWindow
from stepzero.spec.plan import Champion, Plan
from stepzero.stages.triage import retrain_form

USE_CASE = "credit_card_fraud"
PREFIX = f"landing/{USE_CASE}/"
ENVIRONMENT = Environment(name="local", store="file:///x", approval="rule")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(f"file://{tmp_path}/store")
    store.write_text(f"{PREFIX}a.csv", "rows of a")
    return store


def plan(
    store: Store, *, as_of: str = "2026-11-21T00:00:00+00:00", environment: Environment = ENVIRONMENT, **more: Any
) -> Plan:
    request = PlanRequest(use_case=USE_CASE, run=more.pop("run", "r1"), as_of=as_of, **more)
    return make_plan(request, store, environment, Champion(version="3", digest="d"))


def entry(store: Store, name: str, day: int) -> Accepted:
    """Accept a landed file as the batch of a day."""
    store.write_text(f"{PREFIX}{name}.csv", f"rows of {name}")
    batch = make_batch(store, [f"{PREFIX}{name}.csv"], f"2026-11-{day:02d}")
    reference = Reference(uri=f"results/{name}", digest=f"digest of {name}", kind="dataset", rows=1).to_json()
    accepted = Accepted(
        partition=batch.partition, digest=batch.digest, files=batch.files, accepted=reference,
        as_of=f"2026-11-{day:02d}T00:00:00+00:00", run=name,
    )  # fmt: skip
    accept(store, USE_CASE, accepted)
    return accepted


def refused(store: Store, *names: str, day: int = 20) -> Refused:
    """Refuse landed files as the batch of a day."""
    batch = make_batch(store, [f"{PREFIX}{name}.csv" for name in names], f"2026-11-{day:02d}")
    as_of = f"2026-11-{day:02d}T00:00:00+00:00"
    entry = Refused(partition=batch.partition, digest=batch.digest, files=batch.files, as_of=as_of, run="r")
    refuse(store, USE_CASE, entry)
    return entry


def files_of(made: Plan) -> list[str]:
    return [file.uri.removeprefix(PREFIX) for file in made.batch.files]


def test_plan_freezes_batch_champion_and_cells(store: Store) -> None:
    made = plan(store)
    assert [file.uri for file in made.batch.files] == [f"{PREFIX}a.csv"]
    assert made.batch.partition == made.batch.digest[:12]
    assert made.champion is not None
    assert made.champion.version == "3"
    assert len(made.cells()) == 20


def test_a_run_has_one_plan(store: Store) -> None:
    first = commit_plan(store, plan(store))
    store.write_text(f"{PREFIX}b.csv", "rows of b")
    assert commit_plan(store, plan(store, form={"seed": 99})) == first


def test_nothing_landed(tmp_path: Path) -> None:
    empty = Store(f"file://{tmp_path}/none")
    empty.write_text(f"{PREFIX}_SUCCESS", "hidden")
    empty.write_text(f"{PREFIX}empty.csv", "")
    with pytest.raises(InputError, match=r"landing folder .*: got no file\. .*Do: land one: bin/run --use-case"):
        plan(empty)


def test_landed_file_of_no_bytes_is_told(store: Store) -> None:
    store.write_text(f"{PREFIX}empty.csv", "")
    with pytest.raises(InputError, match=r"empty\.csv: got 0 bytes\. Allowed: a file with a header and rows"):
        plan(store, uris=(f"{PREFIX}empty.csv",))
    with pytest.raises(InputError, match=r"gone\.csv: got missing"):
        plan(store, uris=(f"{PREFIX}gone.csv",))


def test_named_batch_and_a_name_that_is_none(store: Store) -> None:
    store.write_text(f"{PREFIX}b.csv", "rows of b")
    for name in ("a", "a.csv", f"{PREFIX}a.csv"):
        assert plan(store, form={"batch": name}).batch.files[0].uri == f"{PREFIX}a.csv"
    with pytest.raises(InputError, match=r"form\.batch: got 'a\.cvs'\. Allowed: did you mean 'a\.csv'\?"):
        plan(store, form={"batch": "a.cvs"})


def test_window_holds_earlier_accepted_batches_only(store: Store) -> None:
    for name, day in (("d18", 18), ("d19", 19), ("d22", 22)):
        entry(store, name, day)
    made = plan(store, form={"batch": "a"})
    assert [member.partition for member in made.window] == ["2026-11-18", "2026-11-19"]
    assert plan(store, form={"batch": "a", "window": "batch"}).window == ()
    again = plan(store, form={"batch": "d19"}, as_of="2026-11-23T00:00:00+00:00")
    assert [member.partition for member in again.window] == ["2026-11-18", "2026-11-22"], "a batch is not its own past"


@pytest.mark.parametrize(
    ("policy", "days"),
    [
        ({}, range(2, 31)),
        ({"use": "recent", "batches": 7}, range(25, 31)),
        ({"use": "recent", "batches": 1}, range(0)),
        ({"use": "all"}, range(1, 31)),
        ({"use": "all", "half_life": 14}, range(1, 31)),
    ],
)
def test_a_retrain_learns_from_the_window_that_the_watch_names_and_says_why(
    store: Store, policy: dict[str, Any], days: range
) -> None:
    for day in range(1, 31):
        entry(store, f"day {day}", day)
    why = "the watch asked for it: average_precision: observed 0.4, allowed 0.8"
    compared = Reference(uri="results/labelled", digest="l" * 32, kind="dataset", rows=900).to_json()
    form = retrain_form(RetrainWindow(**policy)) | {"reason": why, "compared_on": compared}
    made = plan(store, form={**form, "batch": "a"}, as_of="2026-12-01T03:00:00+00:00")
    assert [member.partition for member in made.window] == [f"2026-11-{day:02d}" for day in days]
    assert (made.half_life, made.reason, made.compared_on) == (policy.get("half_life"), why, compared)
    assert plan_record(made).tags == {"stepzero.reason": why}
    assert plan_record(plan(store, form={"batch": "a"})).tags == {}, "a run that nobody asked for has no reason"


def test_waiting_is_what_no_accepted_batch_holds(store: Store) -> None:
    entry(store, "done", 18)
    store.write_text(f"{PREFIX}copy of done.csv", "rows of done")
    assert waiting_uris(store, USE_CASE, PREFIX) == [f"{PREFIX}a.csv"]
    assert len(landed_uris(store, PREFIX)) == 3


def test_a_refused_file_is_no_news_and_a_good_one_that_lands_after_it_is_judged_alone(store: Store) -> None:
    refused(store, "a")
    store.write_text(f"{PREFIX}a again.csv", "rows of a")
    assert waiting_uris(store, USE_CASE, PREFIX) == [], "under another name it is the same"
    store.write_text(f"{PREFIX}b.csv", "rows of b")
    assert files_of(plan(store)) == ["b.csv"]
    store.write_text(f"{PREFIX}a.csv", "rows of a, mended")
    assert files_of(plan(store)) == ["a.csv", "b.csv"], "under the same name it is another"


def test_a_run_that_names_nothing_takes_what_was_accepted_last_and_never_what_was_refused(store: Store) -> None:
    entry(store, "z first", 18)
    newest = entry(store, "b second", 19)
    store.write_text(f"{PREFIX}zz.csv", "rows of zz")
    refused(store, "a", "zz")
    made = plan(store)
    assert (made.batch.partition, made.batch.digest, files_of(made)) == ("2026-11-19", newest.digest, ["b second.csv"])
    assert [member.partition for member in made.window] == ["2026-11-18"], "it is not its own past"


def test_where_everything_was_refused_a_run_names_what_is_to_be_judged_again(store: Store) -> None:
    refused(store, "a")
    with pytest.raises(InputError) as told:
        plan(store)
    assert str(told.value) == (
        f"landing folder {store.root}/{PREFIX}: got nothing but what the gate refused: a.csv. Allowed: a file "
        "that was not refused, or one that the form names. Do: land a mended file, or name one as the batch: it is "
        "judged again"
    )
    for name in ("a.csv", "2026-11-20"):
        made = plan(store, form={"batch": name})
        assert (files_of(made), made.batch.partition) == (["a.csv"], "2026-11-20")


def test_what_was_refused_and_then_accepted_counts_as_accepted(store: Store) -> None:
    store.write_text(f"{PREFIX}b.csv", "rows of b")
    both = refused(store, "a", "b")
    entry(store, "b", 21)
    assert [one.partition for one in accepted_batches(store, USE_CASE)] == ["2026-11-21"]
    assert waiting_uris(store, USE_CASE, PREFIX) == [], "of the other one it is not known that it is good"
    rows = Reference(uri="results/both", digest="d", kind="dataset", rows=2).to_json()
    accept(store, USE_CASE, Accepted(**dict(both), accepted=rows))
    accept(store, USE_CASE, Accepted(**dict(refused(store, "a", day=20)), accepted=rows))
    assert "2026-11-20" in {one.partition for one in accepted_batches(store, USE_CASE)}


def test_a_batch_that_was_judged_before_keeps_its_name_and_its_age(store: Store) -> None:
    """Else it would be compared and united with itself, and push others out of the window."""
    first = entry(store, "x", 12)
    assert plan(store, form={"batch": "x.csv"}).batch.partition == "2026-11-12"
    rows = Reference(uri="results/other", digest="other rows", kind="dataset", rows=1).to_json()
    again = first.model_copy(update={"accepted": rows, "as_of": "2026-11-20T09:00:00+00:00", "run": "again"})
    accept(store, USE_CASE, again)
    (held,) = accepted_batches(store, USE_CASE)
    assert (held.accepted, held.run, held.since) == (rows, "again", first.as_of)
    earlier = plan(store, form={"batch": "a"}, as_of="2026-11-13T00:00:00+00:00").window
    assert [member.accepted for member in earlier] == [rows], "it came before that run, whenever it was judged again"
    other = {"partition": "by another name", "accepted": first.accepted, "as_of": "2026-11-20T10:00:00+00:00"}
    accept(store, USE_CASE, again.model_copy(update=other))
    window = plan(store, form={"batch": "a"}).window
    assert [member.partition for member in window] == ["by another name"], "one content is trained on once"


def test_a_window_of_days_goes_by_the_time_of_the_batches(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    from stepzero.execution import planning

    declared = load_use_case(USE_CASE)
    assert declared.source is not None
    short = declared.source.model_copy(update={"window": Window(days=3)})
    monkeypatch.setattr(planning, "load_use_case", lambda _: declared.model_copy(update={"source": short}))
    earlier_days(store)
    own = plan(store, partition="2026-11-20", as_of="2026-11-21T00:00:00+00:00", uris=(f"{PREFIX}a.csv",))
    assert [one.partition for one in own.window] == ["2026-11-18", "2026-11-19"], "three days, its own the last"
    late = plan(store, form={"batch": "2026-11-20"}, as_of="2026-12-24T00:00:00+00:00")
    assert [one.partition for one in late.window] == ["2026-11-18", "2026-11-19"], "whenever it is run again"
    today = plan(store, form={"batch": "a"}, as_of="2026-11-21T12:00:00+00:00")
    assert [one.partition for one in today.window] == ["2026-11-18", "2026-11-19", "2026-11-20"]
    assert plan(store, form={"batch": "a"}, as_of="2026-12-24T00:00:00+00:00").window == ()


def test_accepting_twice_is_one_entry_and_other_content_replaces(store: Store) -> None:
    first = entry(store, "x", 18)
    accept(store, USE_CASE, first)
    assert len(store.list(f"ledger/{USE_CASE}")) == 1
    other = first.model_copy(update={"digest": "other"})
    accept(store, USE_CASE, other)
    assert [one.digest for one in accepted_batches(store, USE_CASE)] == ["other"]


@pytest.mark.parametrize(
    ("environment", "form", "expected"),
    [("rule", None, "rule"), ("rule", "person", "person"), ("person", "rule", "person"), ("person", None, "person")],
)
def test_approval_is_only_tightened(store: Store, environment: Any, form: str | None, expected: str) -> None:
    made = plan(
        store,
        environment=ENVIRONMENT.model_copy(update={"approval": environment}),
        form={"approval": form} if form else {},
    )
    assert made.approval == expected


def test_form_with_an_unknown_stage_or_field(store: Store) -> None:
    with pytest.raises(SpecError, match=r"form\.recompute: got 'prepar'\. Allowed: did you mean 'prepare'"):
        plan(store, form={"recompute": ["prepar"]})
    with pytest.raises(SpecError, match=r"sampler: got 'sampler'\. Allowed: a known key; did you mean 'samplers'"):
        plan(store, form={"sampler": ["smote"]})


@given(st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, unique=True))
def test_batch_does_not_depend_on_the_order_of_its_files(names: list[str]) -> None:
    store = Store("memory://batches")
    for name in "abc":
        store.write_text(f"l/{name}.csv", f"rows of {name}")
    uris = [f"l/{name}.csv" for name in names]
    assert make_batch(store, uris) == make_batch(store, uris[::-1])


def earlier_days(store: Store) -> None:
    for name, day in (("d17", 17), ("d18", 18), ("d19", 19), ("d20", 20)):
        entry(store, name, day)


@pytest.mark.parametrize(
    ("form", "days"),
    [
        ({}, [17, 18, 19, 20]),
        ({"window": "batch"}, []),
        ({"window": "recent", "recent_batches": 3}, [19, 20]),
        ({"window": "recent", "recent_batches": 1}, []),
        ({"window": "recent", "recent_batches": 99}, [17, 18, 19, 20]),
        ({"window": "all"}, [17, 18, 19, 20]),
        ({"earlier": ["2026-11-20", "2026-11-17"]}, [17, 20]),
        ({"earlier": []}, []),
    ],
)
def test_a_form_chooses_the_batches_that_are_trained_on(store: Store, form: dict[str, Any], days: list[int]) -> None:
    """The run's own batch is one of the newest; the declared window is as long as what was accepted here."""
    earlier_days(store)
    made = plan(store, form={"batch": "a", **form})
    assert [member.partition for member in made.window] == [f"2026-11-{day}" for day in days]
    assert [member.accepted["uri"] for member in made.window] == [f"results/d{day}" for day in days]
    assert [file.uri for file in made.batch.files] == [f"{PREFIX}a.csv"]


def test_all_batches_are_more_than_the_declared_window(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    from stepzero.execution import planning

    earlier_days(store)
    declared = load_use_case(USE_CASE)
    assert declared.source is not None
    short = declared.source.model_copy(update={"window": Window(batches=2)})
    monkeypatch.setattr(planning, "load_use_case", lambda _: declared.model_copy(update={"source": short}))
    assert [one.partition for one in plan(store, form={"batch": "a"}).window] == ["2026-11-20"]
    assert len(plan(store, form={"batch": "a", "window": "all"}).window) == 4
    recent = plan(store, form={"batch": "a", "window": "recent", "recent_batches": 4})
    assert [one.partition for one in recent.window] == ["2026-11-18", "2026-11-19", "2026-11-20"]


def test_a_form_that_names_impossible_batches_is_refused(store: Store) -> None:
    earlier_days(store)
    with pytest.raises(SpecError) as unpaired:
        plan(store, form={"batch": "a", "window": "recent"})
    allowed = "a number with window: recent, and none without"
    assert str(unpaired.value) == f"form.recent_batches: got None. Allowed: {allowed}. Do: give both or neither"
    with pytest.raises(SpecError, match=r"form\.recent_batches: got 3\. Allowed: a number with window: recent"):
        plan(store, form={"batch": "a", "recent_batches": 3})
    with pytest.raises(SpecError, match=r"recent_batches: got 0\. Allowed: Input should be greater than or equal to 1"):
        plan(store, form={"batch": "a", "window": "recent", "recent_batches": 0})
    with pytest.raises(InputError) as unknown:
        plan(store, form={"batch": "a", "earlier": ["2026-11-18", "2026-11-16"]})
    assert str(unknown.value).startswith("form.earlier: got '2026-11-16'. Allowed: did you mean '2026-11-1")
    assert str(unknown.value).endswith("Do: name partitions that an earlier run accepted")
    with pytest.raises(SpecError) as both:
        plan(store, form={"batch": "a", "window": "batch", "earlier": ["2026-11-18"]})
    assert str(both.value) == (
        "form.earlier: got ['2026-11-18']. Allowed: nothing with window: batch, which says itself what is trained on. "
        "Do: give one of both"
    )


def test_a_recipe_takes_the_place_of_models_samplers_and_threshold(store: Store) -> None:
    asked = plan(store, form={"recipe": "thorough"})
    assert [cell["sampler"] for cell in asked.cells()] == ["none"] * 3
    assert [cell["model"] for cell in asked.cells()] == ["xgboost", "voting", "logistic_regression"]
    use_case, declared = asked.use_case, plan(store).use_case
    assert use_case.evaluate.threshold.smooth
    assert not declared.evaluate.threshold.smooth
    assert use_case.train is not None
    assert use_case.train.models["xgboost"].sample_weight
    assert use_case.evaluate.explain == declared.evaluate.explain, "what a recipe does not speak of stays"
    both = plan(store, form={"recipe": "thorough", "models": ["voting"], "seed": 11, "samplers": ["smote"]})
    assert both.cells() == [{"sampler": "smote", "model": "voting"}]
    with pytest.raises(SpecError, match=r"form\.recipe: got thoroughly\. Allowed: did you mean 'thorough'"):
        plan(store, form={"recipe": "thoroughly"})
    with pytest.raises(SpecError, match=r"form\.models: got 'random_forest'\. Allowed: one of"):
        plan(store, form={"recipe": "thorough", "models": ["random_forest"]})
