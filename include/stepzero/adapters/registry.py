"""The model registry (MLflow's): versions found by key, aliases, and what each version tells a person."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stepzero.adapters.store import Store
from stepzero.adapters.tracking_claims import claim
from stepzero.adapters.tracking_client import code_of
from stepzero.adapters.tracking_entities import KEY, NOTE, batch_of, quoted
from stepzero.adapters.tracking_lineage import link_output
from stepzero.spec.plan import Champion

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from stepzero.adapters.tracking import Tracking

CHAMPION, CHALLENGER = "champion", "challenger"
DIGEST = "stepzero.model_digest"
"""Tag of a version: the digest of its model in the store."""
_MISSING = {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}


@dataclass(frozen=True, kw_only=True)
class NewVersion:
    """What is to be registered.

    ``key`` makes it the same version when it is registered again.
    """

    name: str
    key: str
    run_id: str
    experiment: str
    saved: Path
    """Local folder in MLflow's model format."""
    description: str
    tags: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    parameters: Mapping[str, str] = field(default_factory=dict)


class ModelRegistry:
    """Registered models of the tracking server; a model has the name of its use case."""

    def __init__(self, tracking: Tracking) -> None:
        self._tracking = tracking

    def champion(self, name: str) -> Champion | None:
        """Return the version with the alias `champion`, or None before the first."""
        found = self._by_alias(name, CHAMPION)
        return Champion(version=str(found.version), digest=found.tags.get(DIGEST, "unknown")) if found else None

    def aliased(self, name: str, alias: str) -> str | None:
        """Return the version that an alias points to."""
        found = self._by_alias(name, alias)
        return str(found.version) if found else None

    def tags(self, name: str, version: str) -> dict[str, str]:
        """Return the tags of a version."""
        found = self._tracking.ask("reading a version", lambda client: client.get_model_version(name, version))
        return dict(found.tags)

    def register(self, new: NewVersion, store: Store, folder: str) -> str:
        """Return the one version of a key, made and complete.

        Args:
            new: What is to be registered.
            store: Decides between two that register at once.
            folder: Where claims lie.
        """
        self._must_have_name(new.name)
        model_id = self._logged_model(new, store, folder)
        tags = {**new.tags, KEY: new.key}

        def create(_: str) -> str:
            return str(
                self._ask(
                    "creating a version",
                    lambda client: client.create_model_version(
                        new.name,
                        source=f"models:/{model_id}",
                        run_id=new.run_id,
                        tags=tags,
                        description=new.description,
                        model_id=model_id,
                        await_creation_for=0,
                    ),
                ).version
            )

        def find() -> dict[str, list[str]]:
            wanted = f"name={quoted(new.name)} and tags.`{KEY}`={quoted(new.key)}"
            found = self._ask("looking for a version", lambda client: list(client.search_model_versions(wanted)))
            return {new.key: sorted((str(version.version) for version in found), key=int)}

        def delete(version: str) -> None:
            self._ask("deleting a version made twice", lambda client: client.delete_model_version(new.name, version))

        return claim(store, f"{folder}/version", [new.key], find=find, create=create, delete=delete)[new.key]

    def tag(self, name: str, version: str, tags: Mapping[str, str]) -> None:
        """Set tags of a version."""
        for tag, value in tags.items():
            self._ask(
                "tagging a version",
                lambda client, pair=(tag, value): client.set_model_version_tag(name, version, pair[0], pair[1]),
            )

    def point(self, name: str, alias: str, version: str) -> None:
        """Let an alias point to a version."""
        self._ask("moving an alias", lambda client: client.set_registered_model_alias(name, alias, version))

    def release(self, name: str, alias: str, version: str) -> None:
        """Take an alias away from a version, if it points there."""
        if self.aliased(name, alias) == version:
            self._ask("removing an alias", lambda client: client.delete_registered_model_alias(name, alias))

    def challenge(self, name: str, version: str) -> str:
        """Make a version the challenger unless a newer one is, and return who is."""
        current = self.aliased(name, CHALLENGER)
        if current is not None and int(current) > int(version):
            return current
        if current != version:
            self.point(name, CHALLENGER, version)
        return version

    def describe(self, name: str, version: str, description: str) -> None:
        """Set what a person reads first about a version and about the model."""
        self._ask("describing a version", lambda client: client.update_model_version(name, version, description))

    def _logged_model(self, new: NewVersion, store: Store, folder: str) -> str:
        """Return the id of the one logged model of a key, its files uploaded."""

        def find() -> dict[str, list[str]]:
            wanted = f"tags.`{KEY}` = {quoted(new.key)}"
            found = self._ask(
                "looking for a model", lambda client: client.search_logged_models([new.experiment], wanted).to_list()
            )
            ordered = sorted(found, key=lambda model: (model.creation_timestamp, model.model_id))
            return {new.key: [str(model.model_id) for model in ordered]}

        def create(_: str) -> str:
            made = self._ask(
                "creating a model",
                lambda client: client.create_logged_model(
                    new.experiment,
                    name=new.name,
                    source_run_id=new.run_id,
                    tags={**new.tags, KEY: new.key, NOTE: new.description},
                    params={name: value[:6000] for name, value in new.parameters.items()},
                ),
            )
            return str(made.model_id)

        def delete(model_id: str) -> None:
            self._ask("deleting a model made twice", lambda client: client.delete_logged_model(model_id))

        claimed = claim(store, f"{folder}/model", [new.key], find=find, create=create, delete=delete)
        self._complete(claimed[new.key], new)
        return claimed[new.key]

    def _complete(self, model_id: str, new: NewVersion) -> None:
        """Upload and finalize a logged model, unless that was done before."""
        model = self._ask("reading a model", lambda client: client.get_logged_model(model_id))
        if str(model.status) == "READY":
            return
        self._ask("uploading a model", lambda client: client.log_model_artifacts(model_id, str(new.saved)))
        metrics = _model_metrics(new, model_id)
        if metrics:
            self._ask("logging a model's metrics", lambda client: client.log_batch(new.run_id, metrics=metrics))
        link_output(self._tracking, new.run_id, model_id)
        self._ask("finalizing a model", lambda client: client.finalize_logged_model(model_id, "READY"))

    def _must_have_name(self, name: str) -> None:
        from mlflow.exceptions import RestException

        def create(client: MlflowClient) -> None:
            try:
                client.create_registered_model(name)
            except RestException as error:
                if code_of(error) != "RESOURCE_ALREADY_EXISTS":
                    raise

        self._ask("creating a registered model", create)

    def _by_alias(self, name: str, alias: str) -> Any:
        from mlflow.exceptions import RestException

        def look(client: MlflowClient) -> Any:
            try:
                return client.get_model_version_by_alias(name, alias)
            except RestException as error:
                if code_of(error) in _MISSING:
                    return None
                raise

        return self._ask(f"looking for the {alias}", look)

    def _ask(self, doing: str, call: Any) -> Any:
        return self._tracking.ask(doing, call)


def _model_metrics(new: NewVersion, model_id: str) -> list[Any]:
    from mlflow.entities import Metric

    plain = batch_of(metrics=new.metrics).metrics
    return [
        Metric(metric.key, metric.value, metric.timestamp, 0, model_id=model_id, run_id=new.run_id) for metric in plain
    ]
