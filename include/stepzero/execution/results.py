"""Where finished stages lie in the store, and how one is committed exactly once."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from stepzero.adapters.datasets import is_whole
from stepzero.core.digests import digest_json
from stepzero.core.references import Reference, ResultReference
from stepzero.core.stages import Record, StageInput, StageResult
from stepzero.core.verdict import Verdict

if TYPE_CHECKING:
    from stepzero.adapters.store import Store
    from stepzero.core.keys import Key

FORMAT_VERSION = 1
_RESULT = re.compile(r"result-\d{5}\.json")


def result_folder(use_case: str, stage: str, key: Key) -> str:
    """Return where the results of one key lie."""
    return f"results/{use_case}/{stage.replace(':', '.')}/{key.digest}"


def find_result(store: Store, use_case: str, stage: str, key: Key) -> ResultReference | None:
    """Return the newest committed result of a key whose files are all there."""
    for uri in reversed(_numbered(store, result_folder(use_case, stage, key))):
        result = store.read_json(uri)
        if all(is_whole(store, Reference.from_json(output)) for output in result["outputs"].values()):
            return _reference(uri, result)
    return None


def next_number(store: Store, use_case: str, stage: str, key: Key) -> int:
    """Return the number under which a try that begins now must commit."""
    return len(_numbered(store, result_folder(use_case, stage, key))) + 1


def commit_result(
    store: Store, use_case: str, stage: str, key: Key, result: StageResult, extra: dict[str, Any], *, number: int
) -> ResultReference:
    """Commit a result under the number that its try began with, or return the one that was first.

    Tries may overlap: whoever ends later finds the number taken and returns the winner's result, even
    when the winner was done long before; its own files are left for the garbage collection. That is why
    the number is `next_number` at the beginning of the try, and not at its end.
    """
    folder = result_folder(use_case, stage, key)
    data = result_json(stage, key, result) | extra
    while True:
        uri = f"{folder}/result-{number:05d}.json"
        if store.create(uri, data):
            return _reference(uri, data)
        winner = find_result(store, use_case, stage, key)
        if winner is not None:
            return winner
        number += 1


def read_input(store: Store, reference: ResultReference) -> StageInput:
    """Read a finished stage as an input of the next."""
    data = store.read_json(reference.uri)
    return StageInput(
        reference=reference,
        outputs={name: Reference.from_json(output) for name, output in data["outputs"].items()},
        values=data["values"],
        verdict=Verdict.from_json(data["verdict"]) if data["verdict"] else None,
    )


def read_records(store: Store, reference: ResultReference) -> list[Record]:
    """Return what a finished stage wants to show in the tracking server."""
    return [Record(**record) for record in store.read_json(reference.uri)["records"]]


def write_pointers(store: Store, reference: ResultReference) -> None:
    """Let the files by which others find a newest result name this one; each changes as a whole."""
    for uri, content in store.read_json(reference.uri).get("pointers", {}).items():
        store.write_json(uri, content)


def result_json(stage: str, key: Key, result: StageResult) -> dict[str, Any]:
    """Return a result as it is committed; its digest speaks of content only."""
    content = {
        "outputs": {name: reference.to_json() for name, reference in result.outputs.items()},
        "values": result.values,
        "verdict": result.verdict.to_json() if result.verdict else None,
    }
    told = {
        "outputs": {name: reference.digest for name, reference in result.outputs.items()},
        "values": result.values,
        "verdict": result.verdict.to_json() | {"links": {}} if result.verdict else None,
    }
    return content | {
        "format": FORMAT_VERSION,
        "stage": stage,
        "key": key.digest,
        "key_parts": dict(key.parts),
        "digest": digest_json(told),
        "summary": result.summary,
        "records": [vars(record) for record in result.records],
        "history": result.history,
        "pointers": result.pointers,
    }


def _numbered(store: Store, folder: str) -> list[str]:
    return [uri for uri in store.list(folder) if _RESULT.fullmatch(uri.removeprefix(f"{folder}/"))]


def _reference(uri: str, data: dict[str, Any]) -> ResultReference:
    verdict = data["verdict"]
    return ResultReference(
        stage=data["stage"],
        uri=uri,
        digest=data["digest"],
        outcome=verdict["outcome"] if verdict else None,
        summary=data["summary"][:300],
    )
