"""Where results of arm64 and x86-64 may differ, by how much at most, and why."""

from __future__ import annotations

from arm64.lane.compare import ADDRESS, Bound

ORDER_OF_SUMS = "each processor's BLAS adds in an order of its own, and the solver stops a hair elsewhere"
CORRELATION = "BLAS adds in another order"
DIGESTS = "digests of what differs within a bound of its own"
PATHS = "addresses and paths: each machine has its own services, and a key that names its architecture"
KEYS = "each machine signs with a key of its own"
SCORES = 1e-6
"""Largest difference of a logistic regression's probabilities, and of every figure made from them."""

BOUNDS: tuple[Bound, ...] = (
    Bound("explore", "figures.json.features.*.correlation", 1e-12, CORRELATION),
    Bound("tune *.logistic_regression", "*", SCORES, ORDER_OF_SUMS),
    Bound("evaluate", "*", SCORES, ORDER_OF_SUMS),
    Bound("reference", "attributions:*", SCORES, ORDER_OF_SUMS),
    *(
        Bound(stage, f"dossier.json.{part}*", SCORES, ORDER_OF_SUMS)
        for stage in ("register", "approve")
        for part in ("table", "comparison", "calibration", "explanation", "model.")
    ),
    Bound("register", "values.winner.*", SCORES, ORDER_OF_SUMS),
    Bound("register", "values.documents.*", ADDRESS, DIGESTS),
    Bound("approve", "evidence.json.documents.*", ADDRESS, DIGESTS),
    Bound("approve", "evidence.json.signature.*", ADDRESS, KEYS),
    *(
        Bound(stage, f"dossier.json.{part}", ADDRESS, PATHS)
        for stage in ("register", "approve")
        for part in ("lineage[[]*[]].uri", "links.*", "pictures.*", "approval.digest")
    ),
    Bound("register", "dossier.json.lineage[[]*[]].digest", ADDRESS, DIGESTS),
    Bound("approve", "dossier.json.lineage[[]*[]].digest", ADDRESS, DIGESTS),
    Bound("register", "dossier_page.html", ADDRESS, PATHS),
    Bound("approve", "dossier_page.html", ADDRESS, PATHS),
    Bound("register", "values.*.uri", ADDRESS, PATHS),
    Bound("register", "values.links.*", ADDRESS, PATHS),
    Bound("approve", "values.*.uri", ADDRESS, PATHS),
    Bound("approve", "values.links.*", ADDRESS, PATHS),
    Bound("approve", "values.evidence_digest", ADDRESS, PATHS),
    Bound("approve", "evidence.json.links.*", ADDRESS, PATHS),
    Bound("deploy", "values.endpoint", ADDRESS, PATHS),
)
