"""Equal trees have equal bytes, whatever was in the memory that they were given."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier, RandomForestRegressor
from sklearn.preprocessing import FunctionTransformer
from sklearn.tree import DecisionTreeClassifier
from sklearn.tree._tree import Tree

from stepzero.learning.pickling import dump_estimator, without_padding

GENERATOR = np.random.default_rng(4)
ROWS = GENERATOR.normal(size=(300, 4))
TARGET = (ROWS[:, 0] + GENERATOR.normal(size=300) > 0).astype(int)


def poisoned(tree: Tree, byte: int) -> Tree:
    """Return an equal tree whose unwritten bytes are others."""
    make, arguments, state = tree.__reduce__()
    nodes = state["nodes"]
    raw = np.full((len(nodes), nodes.dtype.itemsize), byte, dtype=np.uint8)
    spoilt = raw.view(nodes.dtype).reshape(nodes.shape)
    for name in nodes.dtype.names:
        spoilt[name] = nodes[name]
    other = make(*arguments)
    other.__setstate__({**state, "nodes": spoilt})
    return other


@pytest.mark.parametrize(
    "estimator",
    [
        DecisionTreeClassifier(random_state=1),
        RandomForestClassifier(n_estimators=3, random_state=1),
        ExtraTreesClassifier(n_estimators=3, random_state=1),
        RandomForestRegressor(n_estimators=3, random_state=1),
    ],
    ids=lambda one: type(one).__name__,
)
def test_what_memory_held_before_is_not_in_the_bytes(estimator: Any) -> None:
    estimator.fit(ROWS, TARGET)
    members = getattr(estimator, "estimators_", [estimator])
    found = set()
    for byte in (0, 7, 255):
        for one in members:
            one.tree_ = poisoned(one.tree_, byte)
        found.add(dump_estimator(estimator))
    assert len(found) == 1
    again = pickle.loads(found.pop())  # noqa: S301 - made a line above
    assert (again.predict(ROWS) == estimator.predict(ROWS)).all()


def test_functions_of_numpy_are_kept() -> None:
    """A pickle finds them through a table of its own."""
    made = FunctionTransformer(np.log1p)
    assert pickle.loads(dump_estimator(made)).func is np.log1p  # noqa: S301 - made here


FITTED = """
import hashlib, os, pickle, sys, traceback
from pathlib import Path
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier
from stepzero.learning.pickling import dump_estimator

def fit(folder, before):
    if before != "alone":  # Before anything of its class was made: instances share the names of their attributes.
        pickle.loads((folder / before).read_bytes())
    rows = np.random.default_rng(0).normal(size=(300, 4))
    for made in (LogisticRegression(), DecisionTreeClassifier(random_state=0, max_depth=3)):
        fitted = made.fit(rows, (rows[:, 0] > 0).astype(int))
        plain, ours = (hashlib.sha256(one).hexdigest() for one in (pickle.dumps(fitted, 5), dump_estimator(fitted)))
        if before == "alone":
            (folder / type(made).__name__).write_bytes(pickle.dumps(fitted, 5))
        print(before, type(made).__name__, plain, ours, flush=True)

for before in ("alone", "LogisticRegression", "DecisionTreeClassifier"):
    child = os.fork()  # which has imported all, and made nothing
    if not child:
        try:
            fit(Path(sys.argv[1]), before)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        sys.exit(1)
"""


def test_what_the_process_read_before_is_not_in_the_bytes(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", FITTED, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    printed: dict[str, dict[str, list[str]]] = {}
    for before, name, *digests in map(str.split, done.stdout.splitlines()):
        printed.setdefault(before, {})[name] = digests
    alone = printed.pop("alone")
    assert set(printed) == set(alone) == {"LogisticRegression", "DecisionTreeClassifier"}
    for name, after in printed.items():
        assert after[name][0] != alone[name][0], "a plain pickle tells: if not, this test shows nothing"
        assert {kind: ours for kind, (_, ours) in after.items()} == {kind: ours for kind, (_, ours) in alone.items()}


def test_the_nodes_of_a_tree_have_such_bytes() -> None:
    """If a release of scikit-learn fills them, our own pickler is no longer needed."""
    nodes = DecisionTreeClassifier(random_state=1).fit(ROWS, TARGET).tree_.__reduce__()[2]["nodes"]
    written = sum(nodes.dtype[name].itemsize for name in nodes.dtype.names)
    assert written < nodes.dtype.itemsize
    assert (without_padding(nodes) == nodes).all()


def test_whether_arrays_share_the_description_of_their_type_is_not_in_the_bytes() -> None:
    """A tree that was read from a pickle has descriptions of its own, unlike one that was fitted."""
    fitted = DecisionTreeClassifier(random_state=1).fit(ROWS, TARGET)
    once = dump_estimator(fitted)
    read = pickle.loads(once)  # noqa: S301 - made a line above
    assert pickle.dumps(read, 5) != pickle.dumps(fitted, 5), "pickle itself tells them apart no longer"
    assert dump_estimator(read) == once


def test_other_estimators_are_pickled_as_ever() -> None:
    made = dump_estimator({"a": [1, 2.5, None]})
    assert pickle.loads(made) == {"a": [1, 2.5, None]}  # noqa: S301 - made a line above
