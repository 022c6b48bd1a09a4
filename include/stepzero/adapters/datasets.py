"""Datasets: a folder with a manifest, written last; what has no manifest does not exist."""

from __future__ import annotations

import hashlib
from typing import IO, TYPE_CHECKING, Any

from stepzero.adapters.store import Store
from stepzero.core.digests import LENGTH, digest_json
from stepzero.core.errors import StoreError, bare
from stepzero.core.references import Reference

if TYPE_CHECKING:
    import pandas as pd

MANIFEST = "_manifest.json"
FORMAT_VERSION = 1
_SHORTEST_PARQUET = 12


def commit_dataset(store: Store, folder: str, *, rows: int | None, schema: list[list[str]], producer: str) -> Reference:
    """Write the manifest of a folder whose files are complete, and return the reference.

    The digest covers schema, number of rows and the content of the files. Names do not count (Spark
    puts random parts into them), nor do the footers of Parquet files (Java writes sets into them in
    any order), so that the same rows written again are the same dataset.

    Args:
        store: Where the folder is.
        folder: Relative URI of the folder.
        rows: Number of rows, if it is a table.
        schema: Pairs of column name and type, in order.
        producer: Name of the stage that wrote it.
    """
    files = [_describe(store, uri) for uri in store.list(folder) if not uri.rpartition("/")[2].startswith(("_", "."))]
    digest = digest_json({"files": sorted(file["content"] for file in files), "rows": rows, "schema": schema})
    manifest = {
        "format": FORMAT_VERSION,
        "files": files,
        "digest": digest,
        "rows": rows,
        "schema": schema,
        "producer": producer,
    }
    store.write_json(f"{folder}/{MANIFEST}", manifest)
    return Reference(uri=folder, digest=digest, kind="dataset", rows=rows)


def write_frame(store: Store, folder: str, frame: pd.DataFrame, *, producer: str) -> Reference:
    """Write a pandas frame as one Parquet file and commit it; the index is not kept."""
    with store.open(f"{folder}/part-00000.parquet", "wb") as stream:
        frame.to_parquet(stream, index=False, compression="zstd")
    schema = [[str(name), str(kind)] for name, kind in frame.dtypes.items()]
    return commit_dataset(store, folder, rows=len(frame), schema=schema, producer=producer)


def read_frame(store: Store, reference: Reference, columns: list[str] | None = None) -> pd.DataFrame:
    """Read a dataset into memory, files in the order of their names.

    Raises:
        StoreError: The dataset has no manifest or lost a file.
    """
    import pandas as pd

    frames = []
    for file in manifest_of(store, reference)["files"]:
        with store.open(file["uri"]) as stream:
            frames.append(pd.read_parquet(stream, columns=columns))
    return pd.concat(frames, ignore_index=True) if len(frames) != 1 else frames[0]


def write_file(store: Store, uri: str, data: bytes, *, kind: str = "file") -> Reference:
    """Write one file and return a reference to it."""
    with store.open(uri, "wb") as stream:
        stream.write(data)
    return Reference(uri=uri, digest=hashlib.sha256(data).hexdigest()[:LENGTH], kind=kind)


def manifest_of(store: Store, reference: Reference) -> dict[str, Any]:
    """Return the manifest of a dataset.

    Raises:
        StoreError: There is none.
    """
    manifest: dict[str, Any] = store.read_json(f"{reference.uri}/{MANIFEST}")
    return manifest


def is_whole(store: Store, reference: Reference) -> bool:
    """Tell whether all that a reference names is in the store, at its size."""
    if reference.kind == "file":
        return store.exists(reference.uri)
    if not store.exists(f"{reference.uri}/{MANIFEST}"):
        return False
    return all(store.size(file["uri"]) == file["bytes"] for file in manifest_of(store, reference)["files"])


def digest_stored(store: Store, uri: str) -> str:
    """Return the digest of a stored file's bytes, read in pieces."""
    digest = hashlib.sha256()
    with store.open(uri) as stream:
        while piece := stream.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()[:LENGTH]


def _describe(store: Store, uri: str) -> dict[str, Any]:
    size = store.size(uri)
    if size is None:
        raise StoreError(
            f"store file {uri}", value=bare("missing"), allowed="a file just listed", action="clear the task"
        )
    whole, content = _digests(store, uri, size)
    return {"uri": uri, "digest": whole, "content": content, "bytes": size}


def _digests(store: Store, uri: str, size: int) -> tuple[str, str]:
    """Return the digests of all bytes, and of those before a Parquet file's footer."""
    with store.open(uri) as stream:
        left = size - _footer_bytes(stream, uri, size)
        whole, content = hashlib.sha256(), hashlib.sha256()
        while piece := stream.read(1 << 20):
            whole.update(piece)
            content.update(piece[: max(left, 0)])
            left -= len(piece)
    return whole.hexdigest()[:LENGTH], content.hexdigest()[:LENGTH]


def _footer_bytes(stream: IO[Any], uri: str, size: int) -> int:
    if not uri.endswith(".parquet") or size < _SHORTEST_PARQUET:
        return 0
    stream.seek(size - 8)
    tail = stream.read(8)
    stream.seek(0)
    length = int.from_bytes(tail[:4], "little") + 8
    return length if tail[4:] == b"PAR1" and length <= size else 0
