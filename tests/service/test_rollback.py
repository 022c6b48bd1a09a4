"""Going back to an earlier champion; and a challenger that must hold its own on recent labelled requests."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from stepzero.adapters.datasets import write_frame
from stepzero.adapters.registry_records import desired_uri, read_registration
from stepzero.adapters.registry_succession import successions
from stepzero.adapters.tracking import Tracking
from stepzero.core.errors import InputError, PromotionError
from stepzero.core.verdict import Outcome
from stepzero.execution.lineage import served_spans
from stepzero.execution.rollback import roll_back
from support.champions import World

pytestmark = [
    pytest.mark.service,
    # Importing mlflow.pyfunc warns of type hints in MLflow's own models.
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning"),
]
BOTH = ["V1", "Amount"]


def test_an_earlier_champion_comes_back_and_the_lineage_says_so(world: World, tracking: Tracking) -> None:
    registry = tracking.registry

    def back(to: str | None = None) -> str:
        asked = {"to": to, "by": "ada: the new one is slow"}
        return roll_back(world.store, registry, world.environment, world.name, **asked).sentence()

    with pytest.raises(InputError, match=r"got none. Allowed: an earlier champion; there is none"):
        back()
    world.champion("first", [])
    world.champion("second", BOTH)
    assert registry.champion(world.name).version == "2"
    with pytest.raises(InputError, match=r"got 2. Allowed: an earlier champion: 1"):
        back("2")
    assert back() == (
        "version 1 may serve; the environment has no endpoint for it again after version 2; "
        "it is watched against no reference: it was registered without one"
    )
    assert registry.champion(world.name).version == "1"
    assert world.store.read_json(desired_uri(world.name))["version"] == "1"
    assert [place.version for place in successions(world.store, world.name)] == ["1", "2", "1"]
    assert served_spans(world.store, world.name, "2") == [
        "promoted after version 1, until version 1: rolled back by ada: the new one is slow"
    ]
    assert served_spans(world.store, world.name, "1") == [
        "promoted, until version 2",
        "brought back by ada: the new one is slow after version 2, serves now",
    ]
    # Forward again: what was rolled back is an earlier champion, too.
    assert back("2").startswith("version 2 ")
    assert registry.champion(world.name).version == "2"


def test_what_was_never_approved_cannot_be_brought_back(world: World, tracking: Tracking) -> None:
    world.champion("first", [])
    world.champion("second", BOTH)
    uri = f"registry/{world.name}/1/evidence.json"
    told = world.store.read_json(uri)
    world.store.write_json(uri, told | {"approved": False})
    with pytest.raises(PromotionError, match="a signature of something else"):
        roll_back(world.store, tracking.registry, world.environment, world.name, to="1", by="ada: why")
    unsigned = world.environment.model_copy(update={"signing": None})
    with pytest.raises(PromotionError, match="an approval"):
        roll_back(world.store, tracking.registry, unsigned, world.name, to="1", by="ada: why")
    assert tracking.registry.champion(world.name).version == "2"


def requests(world: World, rows: int, *, turned: bool) -> pd.DataFrame:
    """Return labelled requests that version 1 answered; turned round, V1 tells the other way."""
    generator = np.random.default_rng(8)
    target = (generator.random(rows) < 0.3).astype(int)
    told = (1 - target) if turned else target
    frame = pd.DataFrame({"V1": generator.normal(told * 1.5), "Amount": generator.gamma(2.0 + target, 40.0)})
    ids = [f"n{at}" for at in range(rows)]
    return frame.assign(_id=ids, _version="1", label=target.astype(float))


@pytest.fixture(scope="module")
def champion(make_world: Callable[[str], World]) -> World:
    """A use case whose champion is version 1."""
    world = make_world("requested")
    world.champion("first", BOTH)
    return world


@pytest.mark.parametrize("turned", [False, True])
def test_a_challenger_must_hold_its_own_on_recent_labelled_requests(champion: World, turned: bool) -> None:
    world = champion
    rows = requests(world, 400, turned=turned)
    reference = write_frame(world.store, f"recent-{turned}", rows, producer="collect_windows")
    plan = world.plan(f"turned-{turned}").model_copy(
        update={"compared_on": reference.to_json(), "reason": "the watch said so"}
    )
    # The challenger is blind to V1: it loses where V1 still tells, and wins where it tells the other way.
    registered = world.stage("register", plan, world.evaluated(["Amount"]))
    told = registered.values["comparison"]
    assert "400 recent labelled requests that neither trained on" in told["sentence"]
    assert told["accepted"] is turned
    assert registered.verdict.outcome is (Outcome.PASS if turned else Outcome.FAIL)
    version = registered.values["version"]
    assert read_registration(world.store, world.name, version).gates["champion"] == told["sentence"]


def test_requests_that_the_challenger_learned_from_do_not_count(champion: World) -> None:
    world = champion
    learned = world.rows.iloc[:300].assign(_id=[f"n{at}" for at in range(300)], _version="1")
    rows = learned.rename(columns={"Class": "label"}).astype({"label": "float64"})
    reference = write_frame(world.store, "recent-learned", rows, producer="collect_windows")
    plan = world.plan("learned").model_copy(update={"compared_on": reference.to_json()})
    registered = world.stage("register", plan, world.evaluated(["Amount"]))
    told = registered.values["comparison"]["sentence"]
    assert "rows that neither trained on" in told
    why = "0 are left of those that version 1 answered and the challenger did not learn from, 0 of them positive; 5 of"
    assert f"; not on the recent labelled requests that the watch named: {why} each class are needed" in told
    version = registered.values["version"]
    assert read_registration(world.store, world.name, version).gates["champion"] == told, "the dossier's sentence, too"
