"""Let quarantined rows go: as they are because a person accepts them, or corrected and judged again."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stepzero.adapters.ledger import Accepted
from stepzero.adapters.quarantine import Quarantine, columns_of, read_quarantine, told_counts, write_rows
from stepzero.adapters.releases import Release, find_entry, quarantined_rows, release_once, released_ids, releases_of
from stepzero.core.errors import InputError, bare
from stepzero.core.references import Reference
from stepzero.core.stages import Reuse, StageInput, StageResult, stage
from stepzero.spec.release import ReleaseForm
from stepzero.stages.release_corrections import RefusedError, corrected_rows, read_corrections

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stepzero.adapters.workspace import Workspace


@stage(sections=("quality", "source"), plan=("batch", "datasets"), reuse=Reuse.NEVER)
def release(use_case: Any, inputs: dict[str, StageInput], workspace: Workspace) -> StageResult:
    """Release quarantined rows of an accepted batch into its partition, each of them once.

    The parameter ``form`` is a `ReleaseForm` as JSON. A run releases once: tried again, it finds what it released.
    Later runs see the rows, because their plans name them; results that were made without them stay what they are.

    Raises:
        InputError: The batch has no quarantine, no row is meant, or a file of corrections cannot be used.
    """
    del inputs
    form = ReleaseForm.model_validate_json(workspace.parameters["form"]).check()
    entry = find_entry(workspace.store, workspace.plan.ledger, workspace.plan.batch.partition)
    task = _Task(
        use_case=use_case, workspace=workspace, form=form, entry=entry, quarantine=_quarantine(entry, workspace)
    )
    try:
        return task.looked_at() if form.dry_run else task.done()
    except RefusedError as refused:
        workspace.log.warning("%s Nothing was released.", refused.verdict.sentence())
        return StageResult(verdict=refused.verdict, summary=refused.verdict.sentence())


@dataclass(kw_only=True)
class _Task:
    """One release with all that it needs, read."""

    use_case: Any
    workspace: Workspace
    form: ReleaseForm
    entry: Accepted
    quarantine: Quarantine
    tries: int = 0

    def done(self) -> StageResult:
        """Release the rows, or find what this run released before."""
        store, plan = self.workspace.store, self.workspace.plan
        made, before = release_once(store, plan.ledger, self.entry, plan.run, self.make)
        outputs = {"released": Reference.from_json(made.rows)} if made else {}
        return self._result(before, made.count if made else 0, outputs, dry=False)

    def looked_at(self) -> StageResult:
        """Say what would be released now."""
        before = releases_of(self.workspace.store, self.workspace.plan.ledger, self.entry)
        left = self._left(before)
        if self.form.corrections and left:
            self._corrected(left, before)
        self.workspace.log.info("dry run: %d rows would be released\n%s", len(left), self._told(left))
        return self._result(before, len(left), {}, dry=True)

    def make(self, before: Sequence[Release]) -> Release | None:
        """Write the rows that are asked for and were not released before; None where none is left."""
        self.tries += 1
        left = self._left(before)
        if not left:
            return None
        workspace, form = self.workspace, self.form
        rows = self._corrected(left, before) if form.corrections else self._as_they_are(left)
        workspace.log.info("%d rows are released\n%s", len(left), self._told(left))
        return Release(
            run=workspace.plan.run,
            partition=self.entry.partition,
            how="corrected" if form.corrections else "accepted",
            by=form.by.strip(),
            why=form.why.strip(),
            when=workspace.plan.as_of,
            reasons=form.reasons,
            rows=rows.to_json(),
            ids=workspace.write_json(f"ids-{self.tries}.json", left).to_json(),
        )

    def _left(self, before: Sequence[Release]) -> list[str]:
        """Return the ids that are asked for and not released yet, in the order of the quarantine."""
        ids = list(self.form.rows) or None
        if self.form.corrections:
            listed = read_corrections(self.workspace.store, self.form.corrections, self.use_case.source)
            ids = [row for row in listed if ids is None or row in ids]
        out = released_ids(self.workspace.store, tuple(before))
        return [row for row in self.quarantine.chosen(self.form.reasons, ids) if row not in out]

    def _as_they_are(self, ids: list[str]) -> Reference:
        workspace = self.workspace
        columns = columns_of(workspace.store, Reference.from_json(self.entry.quarantined or {}))
        folder = f"{workspace.folder}/released-{self.tries}"
        return write_rows(workspace.store, folder, self.quarantine.take(ids), columns, producer=workspace.stage)

    def _corrected(self, ids: list[str], before: Sequence[Release]) -> Reference:
        beside = [Reference.from_json(rows) for rows in (self.entry.accepted, *(one.rows for one in before))]
        return corrected_rows(
            self.workspace, self.use_case, uri=str(self.form.corrections), ids=ids, beside=beside, number=self.tries
        )

    def _told(self, ids: list[str]) -> str:
        return told_counts(self.quarantine.counts(ids))

    def _result(
        self, before: Sequence[Release], released: int, outputs: dict[str, Reference], *, dry: bool
    ) -> StageResult:
        accepted, aside = int(self.entry.accepted["rows"]), quarantined_rows(self.entry)
        earlier = sum(one.count for one in before)
        values = {
            "partition": self.entry.partition,
            "rows": accepted + aside,
            "accepted": accepted,
            "quarantined": aside,
            "released": 0 if dry else released,
            "would_release": released if dry else 0,
            "released_before": earlier,
            "left": aside - earlier - (0 if dry else released),
            "how": self.form.how,
            "by": self.form.by,
            "why": self.form.why,
        }
        return StageResult(outputs=outputs, values=values, summary=_sentence(values, dry=dry))


def _quarantine(entry: Accepted, workspace: Workspace) -> Quarantine:
    if not entry.quarantined:
        raise InputError(
            f"quarantine of batch {entry.partition}",
            value=bare("no row"),
            allowed="a batch with quarantined rows",
            action="name another batch",
        )
    return read_quarantine(workspace.store, Reference.from_json(entry.quarantined))


def _sentence(values: dict[str, Any], *, dry: bool) -> str:
    of = f"of {values['quarantined']} quarantined rows of batch {values['partition']}"
    earlier = f", {values['released_before']} were released before" if values["released_before"] else ""
    if dry:
        return f"Dry run: {values['would_release']} {of} would be released{earlier}; nothing was changed."
    if not values["released"]:
        return f"None {of} was released: no row that is asked for is left{earlier}."
    answers = f"{values['how']} by {values['by']}: {json.dumps(values['why'], ensure_ascii=False)}"
    return f"{values['released']} {of} were released{earlier}, {values['left']} stay; {answers}. Later runs use them."
