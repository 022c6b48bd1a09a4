"""A tree that a person can follow: the winner itself, or a small one that says what the winner says.

Questions are asked in the units of the raw features, whatever the transformer did to them. Drawn by Graphviz
where its program ``dot`` is on this machine, by matplotlib otherwise: the same nodes and words.
"""

from __future__ import annotations

import shutil
import textwrap
from dataclasses import dataclass
from typing import Any

import numpy as np

from stepzero.learning.drawing import BLUE, INK, ORANGE, figure, png
from stepzero.learning.model import ScoringModel
from stepzero.learning.table import Table
from stepzero.learning.transform import Transformer

DEPTH = 3
"""Questions from the top at most: a picture of more is none."""


@dataclass(frozen=True, kw_only=True)
class Node:
    """A question with its answers, or a leaf."""

    words: tuple[str, ...]
    share: float
    """Of positives among the rows that come here."""
    yes: Node | None = None
    no: Node | None = None


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A tree with what it is."""

    root: Node
    title: str
    fidelity: float | None
    """Share of held-out rows on which it decides as the winner does; None where it is the winner."""


def make_tree(model: ScoringModel, train: Table, test: Table, seed: int) -> Picture:
    """Return the top of the winner if it is a decision tree; else a small tree fitted to the winner's decisions.

    A tree that imitates: Craven and Shavlik, "Extracting Tree-Structured Representations of Trained Networks",
    NIPS 1996. How well it does so is told, on held-out rows.
    """
    from sklearn.tree import DecisionTreeClassifier

    if isinstance(model.estimator, DecisionTreeClassifier):
        depth = model.estimator.get_depth()
        cut = f", the first {DEPTH} of {depth} questions" if depth > DEPTH else ""
        return Picture(root=_read(model.estimator, model.transformer), title=f"The model itself{cut}", fidelity=None)
    matrix = np.nan_to_num(model.matrix(train.features), nan=0.0)
    imitated = model.decide(train.features).astype(int)
    leaf = max(2, min(20, int(imitated.sum()) // 10))
    tree = DecisionTreeClassifier(max_depth=DEPTH, min_samples_leaf=leaf, random_state=seed).fit(matrix, imitated)
    held = np.nan_to_num(model.matrix(test.features), nan=0.0)
    raised, says = model.decide(test.features), tree.predict(held) == 1
    same = float((says == raised).mean())
    told = f"A small tree that decides as the model does on {same:.2%} of held-out rows"
    told += f" and raises {int((says & raised).sum())} of the {int(raised.sum())} that it raises"
    return Picture(root=_read(tree, model.transformer), title=told, fidelity=same)


def tree_picture(tree: Picture) -> bytes:
    """Return a PNG, by Graphviz where it is installed."""
    return _by_graphviz(tree) if shutil.which("dot") else _by_matplotlib(tree)


def tree_text(tree: Picture) -> str:
    """Return the tree as indented lines."""
    lines = [tree.title]

    def walk(node: Node, prefix: str, depth: int) -> None:
        lines.append("  " * depth + prefix + ", ".join(node.words))
        for answer, child in (("yes: ", node.yes), ("no: ", node.no)):
            if child is not None:
                walk(child, answer, depth + 1)

    walk(tree.root, "", 0)
    return "\n".join(lines) + "\n"


def _read(estimator: Any, transformer: Transformer) -> Node:
    tree = estimator.tree_
    positive = int(np.flatnonzero(estimator.classes_ == 1)[0]) if 1 in estimator.classes_ else None

    def node(index: int, depth: int) -> Node:
        values = tree.value[index][0]
        share = float(values[positive] / values.sum()) if positive is not None else 0.0
        told = (f"{int(tree.n_node_samples[index]):,} rows", f"{share:.1%} raised")
        left, right = int(tree.children_left[index]), int(tree.children_right[index])
        if left < 0 or depth == DEPTH:
            return Node(words=told, share=share)
        question = _question(transformer, int(tree.feature[index]), float(tree.threshold[index]))
        return Node(words=(question, *told), share=share, yes=node(left, depth + 1), no=node(right, depth + 1))

    return node(0, 0)


def _question(transformer: Transformer, column: int, threshold: float) -> str:
    """Return what the left branch says yes to, in raw units."""
    name = str(transformer.get_feature_names_out()[column])
    numeric = [one for one in transformer.columns_ if one not in (transformer.one_hot or {})]
    if name not in numeric:
        return f"not {name}?"
    place = numeric.index(name)
    return f"{name} ≤ {threshold * transformer.width_[place] + transformer.centre_[place]:.4g}?"


def _by_graphviz(tree: Picture) -> bytes:
    import graphviz

    graph = graphviz.Digraph(
        format="png", graph_attr={"dpi": "110", "labelloc": "t", "label": graphviz.escape(tree.title)}
    )
    graph.attr("graph", fontname="DejaVu Sans", fontcolor=INK, nodesep="0.25")
    graph.attr("node", shape="box", style="rounded,filled", fontname="DejaVu Sans", fontsize="11", fontcolor=INK)
    graph.attr("edge", fontname="DejaVu Sans", fontsize="10", color=INK, fontcolor=INK)

    def add(node: Node, name: str) -> None:
        graph.node(name, label=graphviz.escape("\n".join(node.words)), fillcolor=_colour(node.share))
        for answer, child in (("yes", node.yes), ("no", node.no)):
            if child is not None:
                add(child, f"{name}{answer[0]}")
                graph.edge(name, f"{name}{answer[0]}", label=answer)

    add(tree.root, "t")
    drawn: bytes = graph.pipe()
    return drawn


def _by_matplotlib(tree: Picture) -> bytes:
    places = _places(tree.root)
    with figure(max(8.0, 2.0 * (1 + max(x for x, _, _ in places))), 5.6) as (made, axis):
        at = {id(node): (x, -float(depth)) for x, depth, node in places}
        for _, _, node in places:
            for answer, child in (("yes", node.yes), ("no", node.no)):
                if child is not None:
                    _draw_edge(axis, at[id(node)], at[id(child)], answer)
        for x, depth, node in places:
            box = {"boxstyle": "round,pad=0.4", "facecolor": _colour(node.share), "edgecolor": INK, "linewidth": 0.8}
            words = "\n".join(node.words)
            axis.text(x, -depth, words, ha="center", va="center", size=9, bbox=box, parse_math=False, zorder=3)
        axis.set_xlim(-0.7, max(x for x, _, _ in places) + 0.7)
        axis.set_ylim(-max(depth for _, depth, _ in places) - 0.5, 0.5)
        axis.set_axis_off()
        axis.set_title("\n".join(textwrap.wrap(tree.title, 80)), parse_math=False)
        return png(made)


def _draw_edge(axis: Any, start: tuple[float, float], end: tuple[float, float], answer: str) -> None:
    axis.plot([start[0], end[0]], [start[1], end[1]], color=INK, linewidth=0.9, zorder=1)
    middle = (start[0] + end[0]) / 2, (start[1] + end[1]) / 2
    box = {"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "none"}
    axis.text(*middle, answer, ha="center", va="center", size=8, color=BLUE if answer == "yes" else ORANGE, bbox=box)


def _places(root: Node) -> list[tuple[float, int, Node]]:
    """Return where each node stands: leaves side by side, a question above the middle of its answers."""
    found: list[tuple[float, int, Node]] = []
    leaves = iter(range(2 ** (DEPTH + 1)))

    def place(node: Node, depth: int) -> float:
        if node.yes is None or node.no is None:
            x = float(next(leaves))
        else:
            x = (place(node.yes, depth + 1) + place(node.no, depth + 1)) / 2
        found.append((x, depth, node))
        return x

    place(root, 0)
    return found


def _colour(share: float) -> str:
    """Return white for no positives, orange for positives only."""
    orange = (int(ORANGE[at : at + 2], 16) for at in (1, 3, 5))
    mixed = [round(255 + (part - 255) * 0.75 * share) for part in orange]
    return "#" + "".join(f"{part:02x}" for part in mixed)
