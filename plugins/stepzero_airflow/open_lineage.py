"""Which data a stage read and wrote, in OpenLineage's words: asked by Airflow's provider where somebody listens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from stepzero.core.references import Reference
from stepzero.spec.plan import Plan, run_folder
from stepzero_airflow.runs import read_if_there

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from airflow.providers.openlineage.extractors import OperatorLineage
    from openlineage.client.facet_v2 import DatasetFacet

    from stepzero.adapters.store import Store

FOR_PEOPLE = (".png", ".svg", ".html", ".txt")
"""Pictures and pages: no stage reads them."""


class Launched(NamedTuple):
    """What an operator knows of the stage that it launched."""

    use_case: str
    run: str
    stage: str
    table: str
    """One of several tables that the stage is about, or nothing."""
    inputs: Mapping[str, Any]
    """Input name → result reference, or a list of them."""
    pointer: str
    """Where the run notes the result; empty of a stage that has not ended well."""


def stage_lineage(store: Store, launched: Launched) -> OperatorLineage[Any, Any]:
    """Return what a stage read and wrote: places, digests, columns and counts, never a value of a row.

    A stage that begins with the landed files read those; any other read what the stages before it wrote. A data set
    is named by its place in the store, so that what one stage wrote is what the next one read.
    """
    from airflow.providers.openlineage.extractors import OperatorLineage
    from openlineage.client.event_v2 import InputDataset, OutputDataset
    from openlineage.client.facet_v2 import input_statistics_input_dataset, output_statistics_output_dataset

    read = [
        InputDataset(
            **described,
            inputFacets={"inputStatistics": input_statistics_input_dataset.InputStatisticsInputDatasetFacet(**counts)},
        )
        for described, counts in _told(store, _read(store, launched))
    ]
    written = [
        OutputDataset(
            **described,
            outputFacets={
                "outputStatistics": output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(**counts)
            },
        )
        for described, counts in _told(store, _written(store, launched))
    ]
    return OperatorLineage(inputs=read, outputs=written)


def data_set_name(root: str, uri: str) -> tuple[str, str]:
    """Return namespace and name of a place, as OpenLineage's naming has them.

    Args:
        root: The store's root.
        uri: Relative to it, or an absolute address.

    >>> data_set_name("s3://bucket/stepzero", "results/a")
    ('s3://bucket', 'stepzero/results/a')
    >>> data_set_name("file:///store", "results/a")
    ('file', '/store/results/a')
    """
    scheme, _, place = (uri if "://" in uri else f"{root.rstrip('/')}/{uri}").partition("://")
    host, _, path = place.partition("/")
    if scheme == "file":
        return "file", f"/{path}"
    # Whoever put a password into an address did not mean to publish it.
    return f"{scheme}://{host.rpartition('@')[2]}", path


def _read(store: Store, launched: Launched) -> Iterator[Reference]:
    given = [one for value in launched.inputs.values() for one in (value if isinstance(value, list) else [value])]
    for reference in given:
        if isinstance(reference, dict) and reference.get("uri"):
            yield from _outputs(store, reference)
    if not given:
        yield from _landed(store, launched)


def _written(store: Store, launched: Launched) -> Iterator[Reference]:
    pointer = read_if_there(store, launched.pointer) if launched.pointer else {}
    if pointer.get("result"):
        yield from _outputs(store, pointer["result"])


def _outputs(store: Store, result: Mapping[str, Any]) -> Iterator[Reference]:
    for one in (read_if_there(store, result["uri"]).get("outputs") or {}).values():
        reference = Reference.from_json(one)
        if not reference.uri.endswith(FOR_PEOPLE):
            yield reference


def _landed(store: Store, launched: Launched) -> Iterator[Reference]:
    """Yield the landed files, of a stage that says that it reads the run's batch."""
    from stepzero.core.stages import STAGES, find_stage

    known = launched.stage in STAGES or ":" in launched.stage
    told = read_if_there(store, f"{run_folder(launched.use_case, launched.run)}/plan.json")
    if not known or not told or "batch" not in find_stage(launched.stage).plan:
        return
    plan = Plan.model_validate(told)
    batch = plan.tables[launched.table].batch if launched.table in plan.tables else plan.batch
    for file in batch.files:
        yield Reference(uri=file.uri, digest=file.digest, kind="file")


def _told(store: Store, references: Iterable[Reference]) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Yield what each reference is, once, with the counts that are known of it."""
    for one in {reference.uri: reference for reference in references}.values():
        manifest = _manifest(store, one)
        files = manifest.get("files") or []
        counts = {"rowCount": one.rows, "fileCount": len(files), "size": sum(file["bytes"] for file in files)}
        yield _described(store, one, manifest), {name: count for name, count in counts.items() if count}


def _described(store: Store, reference: Reference, manifest: Mapping[str, Any]) -> dict[str, Any]:
    from openlineage.client.facet_v2 import dataset_version_dataset, schema_dataset

    namespace, name = data_set_name(store.root, reference.uri)
    version = dataset_version_dataset.DatasetVersionDatasetFacet(datasetVersion=reference.digest)
    facets: dict[str, DatasetFacet] = {"version": version}
    columns = manifest.get("schema") or []
    if columns:
        fields = [schema_dataset.SchemaDatasetFacetFields(name=name, type=kind) for name, kind in columns]
        facets["schema"] = schema_dataset.SchemaDatasetFacet(fields=fields)
    return {"namespace": namespace, "name": name, "facets": facets}


def _manifest(store: Store, reference: Reference) -> dict[str, Any]:
    """Return what a data set says of itself; nothing of a single file, which has no manifest."""
    from stepzero.adapters.datasets import MANIFEST

    return {} if reference.kind == "file" else read_if_there(store, f"{reference.uri}/{MANIFEST}")
