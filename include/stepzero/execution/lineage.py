"""Where a version comes from: which data, which preparation, which training, which tuning; and where a file went."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stepzero.adapters.ledger import accepted_batches, all_accepted
from stepzero.adapters.registry_records import Registration, find_evidence
from stepzero.adapters.registry_succession import successions
from stepzero.core.digests import digest_file
from stepzero.core.errors import InputError, bare, did_you_mean
from stepzero.execution.execute import DAYS, read_plan
from stepzero.execution.lineage_features import history_of
from stepzero.execution.noted import Noted, noted_stages

if TYPE_CHECKING:
    from stepzero.adapters.store import Store
    from stepzero.spec.plan import Batch, Plan

Aliases = Callable[[str, str], str | None]
"""``(use case, alias) -> version``."""
ALIASES = ("champion", "challenger")
_KEY_PARTS = ("code", "lock", "architecture")


@dataclass(frozen=True)
class Version:
    """A registered version with all that its run noted."""

    registration: Registration
    store: Store

    @property
    def name(self) -> str:
        """Return use case and number."""
        return f"{self.registration.use_case} version {self.registration.version}"

    @cached_property
    def plan(self) -> Plan:
        """The plan of its run."""
        return read_plan(self.store, self.registration.use_case, self.registration.run)

    @cached_property
    def stages(self) -> list[Noted]:
        """What the stages of its run noted."""
        return noted_stages(self.store, self.registration.use_case, self.registration.run)

    @cached_property
    def history(self) -> list[dict[str, Any]]:
        """The datasets of the feature groups that its run joined, each with the run and the files it came from."""
        return list(history_of(self.store, self.registration.use_case, self.stages))

    def stage(self, folder: str, label: str = "") -> Noted | None:
        """Return one stage; None where the run did not get there."""
        return next((one for one in self.stages if (one.folder, one.label) == (folder, label)), None)

    def values(self, folder: str, label: str = "") -> dict[str, Any]:
        """Return what one stage found; empty where it did not run."""
        found = self.stage(folder, label)
        return found.values if found else {}


def find_version(store: Store, named: str, use_case: str | None = None, aliases: Aliases | None = None) -> Version:
    """Return a version by its number, an alias, or the run that made it.

    Args:
        store: Where versions are registered.
        named: ``3``, ``champion``, ``challenger``, or the id of a run.
        use_case: Needed where several use cases have versions.
        aliases: Asks the registry; without it no alias is known.

    Raises:
        InputError: There is none, or several use cases have one.
    """
    known = [one for one in registrations(store) if use_case in {None, one.use_case}]
    names = sorted({one.use_case for one in known})
    if named in ALIASES and aliases is not None:
        pointed = {name: aliases(name, named) for name in names}
        found = [one for one in known if one.version == pointed[one.use_case]]
    else:
        found = [one for one in known if named in {one.version, one.run}]
    if len(found) == 1:
        return Version(found[0], store)
    if found:
        told = ", ".join(f"{one.use_case} {one.version}" for one in found)
        raise InputError(
            f"version {named}", value=bare(f"several: {told}"), allowed="one", action="add --use-case, or give a number"
        )
    listed = [one.version for one in known] + [one.run for one in known]
    raise InputError(
        f"version {named}{f' of {use_case}' if use_case else ''}",
        value=bare("not registered"),
        allowed=did_you_mean(named, [*listed[-20:], *ALIASES]) if listed else "no version yet",
        action="name a version by number, alias or run",
    )


def registrations(store: Store) -> list[Registration]:
    """Return all registered versions, by use case and number."""
    uris = [uri for uri in store.list("registry") if uri.endswith("/registration.json")]
    found = [Registration.model_validate(store.read_json(uri)) for uri in uris]
    return sorted(found, key=lambda one: (one.use_case, int(one.version) if one.version.isdigit() else 0))


def lineage(version: Version) -> dict[str, Any]:
    """Return all that a version comes from, as JSON."""
    registered = version.registration
    evidence = find_evidence(version.store, registered.use_case, registered.version)
    return {
        "use_case": registered.use_case,
        "version": registered.version,
        "model": registered.model_digest,
        "run": registered.run,
        "as_of": version.plan.as_of,
        "data": _data(version),
        "preparation": _preparation(version),
        "tuning": _tuning(version),
        "training": _training(version),
        "evaluation": _evaluation(version),
        "approval": evidence.sentence() if evidence else "nobody has decided on it",
        "reason": version.plan.reason,
        "served": served_spans(version.store, registered.use_case, registered.version),
        "watched_against": {name: one["digest"] for name, one in registered.watched.items()},
        "artefacts": artefacts(version),
    }


def served_spans(store: Store, use_case: str, version: str) -> list[str]:
    """Return how a version became the champion and ceased to be, in the order of the succession."""
    told = []
    places = successions(store, use_case)
    for place, following in zip_longest(places, places[1:]):
        if place.version == version:
            how = f"brought back by {place.rolled_back}" if place.rolled_back else "promoted"
            after = f" after version {place.previous}" if place.previous else ""
            until = "serves now"
            if following is not None:
                back = f": rolled back by {following.rolled_back}" if following.rolled_back else ""
                until = f"until version {following.version}{back}"
            told.append(f"{how}{after}, {until}")
    return told


def artefacts(version: Version) -> list[dict[str, Any]]:
    """Return what went into a version and what came out, by kind and association, each with its digest.

    The words are those of the reference example's lineage: a ``Code`` or ``DataSet`` artefact is associated with the
    training as ``ContributedTo``, the ``Model`` as ``Produced``.
    """
    found = version.stage("tune", _winner_label(version)) or version.stage("evaluate")
    code = _key(found).get("code")
    contributed = [{"kind": "Code", "name": found.name if found else "training", "uri": "stepzero", "digest": code}]
    contributed += [
        {"kind": "DataSet", "name": role, "uri": uri, "digest": digest}
        for role, _, files in _files(version)
        for uri, digest in files
    ]
    prepared = version.stage("mitigate") or version.stage("prepare")
    if prepared and "train" in prepared.outputs:
        train = prepared.outputs["train"]
        contributed.append({"kind": "DataSet", "name": "training rows", "uri": train.uri, "digest": train.digest})
    model = version.registration.reference
    produced = {"kind": "Model", "name": version.name, "uri": model.uri, "digest": model.digest}
    return [one | {"association": "ContributedTo"} for one in contributed] + [produced | {"association": "Produced"}]


def _winner_label(version: Version) -> str:
    winner = version.values("evaluate").get("winner") or {}
    return f"{winner.get('sampler')}.{winner.get('model')}"


def touched(store: Store, named: str) -> dict[str, Any]:
    """Return what a landed file is, and every version that learned from it or was judged on it.

    Args:
        store: Where versions are registered.
        named: A landed file's URI, name or digest, or a file of this machine, looked for by its content.

    Raises:
        InputError: No accepted batch and no version knows such a file.
    """
    wanted = digest_file(Path(named)) if Path(named).is_file() else named
    versions = [found for one in registrations(store) if (found := _touch(Version(one, store), wanted))]
    batches = [
        {"use_case": name, "table": table, "partition": entry.partition, "batch": entry.digest, "run": entry.run}
        for use_case in sorted({uri.split("/")[1] for uri in store.list("ledger")})
        for name, _, table in [use_case.partition(".")]
        for entry in accepted_batches(store, use_case)
        if any(_is(file.uri, file.digest, wanted) for file in entry.files)
    ]
    if not versions and not batches:
        raise InputError(
            f"file {named}",
            value=bare("in no accepted batch and in no version's plan"),
            allowed="a landed file's name, path in the store or digest, or a file of this machine with the same bytes",
            action="was it landed? was its batch refused at the gate?",
        )
    return {"file": named, "digest": wanted if wanted != named else None, "accepted": batches, "versions": versions}


def _touch(version: Version, wanted: str) -> dict[str, Any] | None:
    for role, partition, files in _files(version):
        if any(_is(uri, digest, wanted) for uri, digest in files):
            one = version.registration
            told = {"use_case": one.use_case, "version": one.version, "run": one.run}
            return told | {"as": role, "partition": partition}
    return None


def _files(version: Version) -> list[tuple[str, str, list[tuple[str, str]]]]:
    """Return role, partition and files of every batch that a version's run read."""
    plan = version.plan
    told = [("batch", plan.batch.partition, [(file.uri, file.digest) for file in plan.batch.files])]
    told += [("window", day.partition, [(file.uri, file.digest) for file in day.files]) for day in plan.days]
    digests = {member.digest for member in plan.window}
    entries = {entry.digest: entry for entry in all_accepted(version.store, plan.use_case.name, digests)}
    for member in plan.window:
        entry = entries.get(member.digest)
        told.append(("window", member.partition, [(file.uri, file.digest) for file in entry.files] if entry else []))
    told += [
        ("features", str(one["run"]), [(file["uri"], file["digest"]) for file in one["files"]])
        for one in version.history
        if one["run"] != plan.run
    ]
    return told


def _is(uri: str, digest: str, wanted: str) -> bool:
    return wanted in {uri, uri.rpartition("/")[2]} or (len(wanted) >= 8 and digest.startswith(wanted))


def _data(version: Version) -> dict[str, Any]:
    plan = version.plan
    gates = [one for one in version.stages if one.folder == "quality_gate"]
    told = {one.label: _gate(one) for one in gates}
    return {
        "batch": _batch(plan.batch),
        **(_gate(gates[0]) if len(gates) == 1 and not gates[0].label else _gates(told)),
        "tables": {name: gate | {"batch": _batch(plan.tables[name].batch)} for name, gate in told.items() if name},
        "features": version.history,
        "window": [
            {"partition": one.partition, "digest": one.digest, "rows": one.accepted.get("rows")} for one in plan.window
        ]
        + [
            {
                "partition": day.partition,
                "digest": day.digest,
                "rows": version.values(DAYS, day.partition).get("accepted"),
            }
            for day in plan.days
        ],
    }


def _gate(found: Noted) -> dict[str, Any]:
    outcome = (found.result.get("verdict") or {}).get("outcome")
    return {"gate": outcome, "rows": found.values.get("rows"), "quarantined": found.values.get("quarantined")}


def _gates(told: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return what the gates of several tables said together: the worst outcome, and all rows."""
    outcomes = {gate["gate"] for gate in told.values()}
    worst = next((one for one in ("FAIL", "QUARANTINE", "PASS") if one in outcomes), None)
    counts = {name: [gate[name] or 0 for gate in told.values()] for name in ("rows", "quarantined")}
    return {"gate": worst} | {name: sum(found) if found else None for name, found in counts.items()}


def _batch(batch: Batch) -> dict[str, Any]:
    files = [{"uri": file.uri, "digest": file.digest, "bytes": file.bytes} for file in batch.files]
    return {"partition": batch.partition, "digest": batch.digest, "files": files}


def _preparation(version: Version) -> dict[str, Any]:
    use_case, found = version.plan.use_case, version.stage("prepare")
    return {
        "rows": version.values("prepare"),
        "prepare": use_case.prepare.model_dump(mode="json", exclude_defaults=True),
        "tables": {
            name: {"steps": [step.step for step in table.transforms]} | version.values("prepare_table", name)
            for name, table in use_case.tables.items()
        },
        "split": {"by": use_case.split.by, "test": use_case.split.test}
        | use_case.split.model_dump(mode="json", exclude_defaults=True),
        "pipeline": use_case.pipeline.model_dump(mode="json", exclude_defaults=True),
        "mitigated": version.values("mitigate").get("mitigation", {}).get("method"),
        "result": found.result["digest"] if found else None,
        **_key(found),
    }


def _tuning(version: Version) -> dict[str, Any]:
    cells = [one for one in version.stages if one.folder == "tune"]
    trials = sum(len(one.values.get("trials") or []) for one in cells)
    train, winner = version.plan.use_case.train, version.values("evaluate").get("winner") or {}
    chosen = version.values("tune", f"{winner.get('sampler')}.{winner.get('model')}")
    return {
        "cells": len(cells),
        "failed": [one.label for one in cells if one.values.get("failed")],
        "trials": trials,
        "metric": train.metric if train else None,
        "search": train.search.model_dump(mode="json", exclude_defaults=True) | {"strategy": train.search.strategy}
        if train
        else None,
        "folds": train.folds if train else None,
        "seed": train.seed if train else None,
        "best": {"score": chosen.get("score"), "parameters": chosen.get("parameters")},
    }


def _training(version: Version) -> dict[str, Any]:
    winner = version.values("evaluate").get("winner") or {}
    label = f"{winner.get('sampler')}.{winner.get('model')}"
    resampled = version.values("resample", str(winner.get("sampler"))).get("folds") or {}
    found = version.stage("tune", label)
    return {
        "sampler": winner.get("sampler"),
        "model": winner.get("model"),
        "parameters": winner.get("parameters"),
        "rows": resampled.get("all"),
        "result": found.result["digest"] if found else None,
        "python": (found.result.get("profile") or {}).get("python") if found else None,
        **_key(found),
    }


def _evaluation(version: Version) -> dict[str, Any]:
    values = version.values("evaluate")
    winner, held = values.get("winner") or {}, version.stage("prepare")
    test = held.outputs.get("test") if held else None
    return {
        "threshold": version.registration.threshold,
        "metrics": winner.get("metrics") or {},
        "held_out_rows": test.digest if test else None,
        "sentinels": {one["name"]: one["passed"] for one in values.get("sentinels") or []},
        "gates": version.registration.gates,
    }


def _key(found: Noted | None) -> dict[str, Any]:
    parts = found.result["key_parts"] if found else {}
    return {name: parts.get(name) for name in _KEY_PARTS if name in parts}
