"""Feast: the catalogue of feature groups, and the way into the online store.

What is published is a snapshot of what is known at a moment, one row a record, made by our own join: Feast's joins and
its materialisation leak values that became known later, drop rows, and miss late corrections. Feast's event time is
therefore the moment since when a row counts, the later of both its times: it never goes back when a value is corrected.
"""

from __future__ import annotations

import importlib
import sqlite3
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from stepzero.adapters.datasets import manifest_of
from stepzero.adapters.online_features import (
    EVENT,
    FOLDER,
    KNOWN,
    PROJECT,
    SINCE,
    OnlineReader,
    Record,
    RecordId,
    SqliteReader,
    marker_uri,
    sqlite_path,
)
from stepzero.core.errors import InputError, ServiceError, SetupError, SpecError, bare
from stepzero.core.references import Reference
from stepzero.spec.base import Section

if TYPE_CHECKING:
    import pandas as pd

    from stepzero.adapters.store import Store
    from stepzero.spec.environment import FeatureStore as Settings

REGISTRY = f"{FOLDER}/registry.db"
_OBJECTS = {"string": "string", "empty": "string", "boolean": "boolean"}
_KINDS = {"b": "boolean", "i": "bigint", "u": "bigint", "f": "double"}
_LOADING = threading.Lock()


class Published(Section):
    """What of a feature group was published last."""

    group: str
    record_id: str
    event_time: str
    known_time: str
    kinds: dict[str, str]
    """Every feature, and the record id, with its kind: ``bigint``, ``double``, ``boolean``, ``string``."""
    snapshot: dict[str, Any]
    """A `Reference` as JSON."""
    as_of: str
    """What was known at this moment was published."""
    records: int

    @property
    def features(self) -> dict[str, str]:
        """Return the features with their kinds."""
        return {name: kind for name, kind in self.kinds.items() if name != self.record_id}


def find_published(store: Store, group: str) -> Published | None:
    """Return what of a group was published last, or None."""
    uri = marker_uri(group)
    return Published.model_validate_json(store.read_text(uri)) if store.exists(uri) else None


def published_groups(store: Store) -> dict[str, Published]:
    """Return all groups that were published, by name."""
    uris = [uri for uri in store.list(FOLDER) if uri.endswith("/published.json")]
    found = [Published.model_validate(store.read_json(uri)) for uri in uris]
    return {one.group: one for one in found}


def kinds_of(frame: pd.DataFrame, group: str, record_id: str) -> dict[str, str]:
    """Return each column's kind.

    Raises:
        InputError: A column holds what no endpoint is asked with: times, lists, anything but text, numbers, booleans;
            or the ids are neither whole numbers nor text.
    """
    import pandas as pd

    found = {}
    for name, dtype in frame.dtypes.items():
        kind = _KINDS.get(dtype.kind) or _OBJECTS.get(pd.api.types.infer_dtype(frame[name], skipna=True))
        if kind is None:
            raise InputError(
                f"feature {name} of group {group}",
                value=bare(f"type {dtype}"),
                allowed="text, numbers and booleans: what an endpoint can be asked with",
                action="derive a number or a text from it in the transforms of its table, or drop it there",
            )
        found[str(name)] = kind
    if found[record_id] not in {"bigint", "string"}:
        raise InputError(
            f"record id {record_id} of group {group}",
            value=bare(f"type {frame[record_id].dtype}"),
            allowed="whole numbers or text",
            action="cast it in the transforms of its table",
        )
    return found


class Opened(NamedTuple):
    """Feast's store, and the registry that it was opened with."""

    feast: Any
    registry: Path


@contextmanager
def open_feast(store: Store, settings: Settings, groups: Mapping[str, Published]) -> Iterator[Opened]:
    """Yield Feast's store with a registry of these groups, made anew; missing tables of the online store are made.

    The registry is a file of this process: nobody else reads or writes it meanwhile. `keep_registry` puts a copy where
    everybody looks.
    """
    with tempfile.TemporaryDirectory(prefix="stepzero-feast-") as folder, _quiet():
        registry = Path(folder) / "registry.db"
        feast = feast_store(store, settings, registry)
        feast.apply(catalogue(store, groups))
        yield Opened(feast, registry)


def load_feast() -> None:
    """Import Feast without the type checks that it adds to its own methods.

    Its classes are decorated with typeguard's `typechecked`, which parses and compiles every method again at each
    import: about five seconds of processor time, nine tenths of the import. ``python -O`` omits them, too.
    """
    with _LOADING:
        if "feast" in sys.modules:
            return
        typeguard: Any = importlib.import_module("typeguard")
        checking = typeguard.typechecked
        typeguard.typechecked = lambda target: target
        try:
            importlib.import_module("feast")
        finally:
            typeguard.typechecked = checking


def feast_store(store: Store, settings: Settings, registry: Path | None = None) -> Any:
    """Return Feast's store on the environment's online store; without a registry the one that was kept is read.

    Raises:
        SetupError: The online store's client is not installed here.
        SpecError: Feast has no such online store, or it has no such setting.
    """
    with _quiet(), _known_online(settings):
        from feast import FeatureStore, RepoConfig

        online = dict(settings.online)
        if online["type"] == "sqlite":
            online["path"] = str(_shared_database(sqlite_path(store, settings)))
        kept = store.path(REGISTRY) if store.is_local else f"{store.root}/{REGISTRY}"
        config = RepoConfig(
            project=PROJECT,
            provider="local",
            registry=str(registry or kept),
            online_store=online,
            offline_store={"type": "dask"},
            entity_key_serialization_version=3,
        )
        return FeatureStore(config=config)


@contextmanager
def _known_online(settings: Settings) -> Iterator[None]:
    """Tell in our words what Feast says of the environment's `feature_store.online`.

    Feast imports the client of an online store when its settings are read.
    """
    load_feast()
    from feast.errors import FeastError, FeastModuleImportError

    kind, what = settings.online["type"], "feature_store.online of the environment file"
    try:
        yield
    except FeastModuleImportError as error:
        raise SetupError(
            what,
            value=bare(f"type {kind}: {str(error.__cause__).partition(chr(10))[0]}"),
            allowed="an online store of Feast's whose client is installed",
            action=f"install Feast's client of {kind} wherever features are published and served",
        ) from error
    except (FeastError, ValueError) as error:
        raise SpecError(
            what,
            value=bare(f"type {kind}: {_without_values(error)}"),
            allowed="a type of Feast's online stores, with the settings that it has",
            action="correct the environment file",
        ) from error


def _without_values(error: Exception) -> str:
    """Return what is wrong, without what was given: a connection may hold a password."""
    from feast.errors import FeastError
    from pydantic import ValidationError

    if not isinstance(error, ValidationError):
        return str(error) if isinstance(error, FeastError) else type(error).__name__
    return "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors(include_input=False))


def _shared_database(path: Path) -> Path:
    """Let endpoints read a SQLite database while it is being written to; otherwise they would wait for every commit."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path, timeout=30)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
    return path


def keep_registry(store: Store, opened: Opened) -> None:
    """Copy the registry to its place, all at once."""
    store.put(opened.registry, REGISTRY)


def catalogue(store: Store, groups: Mapping[str, Published]) -> list[Any]:
    """Return Feast's objects of these groups: entities and feature views, sources being their snapshots."""
    from feast import Entity, FeatureView, Field, FileSource, ValueType
    from feast.types import Bool, Float64, Int64, String

    types = {"bigint": Int64, "double": Float64, "boolean": Bool, "string": String}
    entities: dict[str, Any] = {}
    views = []
    for name, group in sorted(groups.items()):
        kind = ValueType.INT64 if group.kinds[group.record_id] == "bigint" else ValueType.STRING
        entity = entities.setdefault(
            group.record_id, Entity(name=group.record_id, join_keys=[group.record_id], value_type=kind)
        )
        fields = [Field(name=column, dtype=types[of]) for column, of in group.kinds.items()]
        fields += [Field(name=time, dtype=Int64) for time in (EVENT, KNOWN)]
        source = FileSource(name=f"{name}_snapshot", path=_file(store, group), timestamp_field=SINCE)
        told = {"as_of": group.as_of, "records": str(group.records), "event_time": group.event_time}
        views.append(
            FeatureView(
                name=name,
                entities=[entity],
                # Without an end: how old a value may be is declared where it is used.
                ttl=timedelta(0),
                schema=fields,
                source=source,
                online=True,
                tags=told | {"known_time": group.known_time},
            )
        )
    return [*entities.values(), *views]


def write_online(feast: Any, group: str, rows: pd.DataFrame) -> None:
    """Write rows of a snapshot into the online store.

    Raises:
        ServiceError: The online store refuses; a retry may help.
    """
    with _online(
        group,
        allowed="an online store that takes the rows",
        action="look at feature_store.online of the environment file, then clear the task",
    ):
        feast.write_to_online_store(group, rows)


def reader_of(store: Store, settings: Settings, opened: Opened) -> OnlineReader:
    """Return what reads back what is written with an opened store."""
    if settings.online["type"] == "sqlite":
        return SqliteReader(sqlite_path(store, settings))
    return FeastReader(store, settings, opened.feast)


class FeastReader:
    """Reads any online store that Feast knows, through Feast.

    Args:
        store: Where the registry is kept; it is read once.
        settings: Which online store.
    """

    def __init__(self, store: Store, settings: Settings, feast: Any = None) -> None:
        self._feast = feast or feast_store(store, settings)
        self._names: dict[str, list[str]] = {}

    def read(self, group: str, record_id: str, ids: Sequence[RecordId]) -> list[Record | None]:
        """Return the published features of each record, with both times; None for one that is not there.

        Raises:
            ServiceError: The online store does not answer; a retry may help.
        """
        if not ids:
            return []
        with _online(
            group,
            allowed="an online store that the stage `publish_features` wrote to",
            action="look at feature_store.online of the environment file",
        ):
            names = self._features(group)
            asked = {record_id: list(ids)}
            answer = self._feast.get_online_features([f"{group}:{name}" for name in names], asked).to_dict()
        rows = [dict(zip(names, values, strict=True)) for values in zip(*(answer[name] for name in names), strict=True)]
        return [row if row[KNOWN] is not None else None for row in rows]

    def _features(self, group: str) -> list[str]:
        if group not in self._names:
            self._names[group] = [field.name for field in self._feast.get_feature_view(group).features]
        return self._names[group]


def _file(store: Store, group: Published) -> str:
    (file,) = manifest_of(store, Reference.from_json(group.snapshot))["files"]
    return store.path(file["uri"]) if store.is_local else f"{store.root}/{file['uri']}"


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep warnings about Feast's own code from those who cannot act on them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def _online(group: str, *, allowed: str, action: str) -> Iterator[None]:
    """Tell in our words what Feast and its online store say, of whatever kind that store is."""
    with _quiet():
        try:
            yield
        except Exception as error:
            raise ServiceError(
                f"online store, group {group}",
                value=bare(f"{type(error).__name__}: {error}"),
                allowed=allowed,
                action=action,
            ) from error
