"""A use case: one prediction problem, declared in one YAML file."""

from __future__ import annotations

from typing import Any

from pydantic import Field, field_validator, model_validator

from stepzero.core.errors import SpecError, bare, did_you_mean
from stepzero.spec.base import NAME, ElsewhereError, Section
from stepzero.spec.bias import Bias
from stepzero.spec.compare import Compare
from stepzero.spec.data import Pipeline, Prepare, Problem, Source, Split, Weight
from stepzero.spec.features import Features, featured_columns
from stepzero.spec.kinds import check_kind, with_default_metrics
from stepzero.spec.monitors import Monitors
from stepzero.spec.quality import Quality, SchemaRule
from stepzero.spec.recipes import Recipe, check_recipes
from stepzero.spec.scoring import Scoring
from stepzero.spec.serve import Serve, check_captured, check_serve
from stepzero.spec.skew import Skew
from stepzero.spec.tables import Join, SourceTable, joined_columns, table_columns, with_table_datasets
from stepzero.spec.training import Evaluate, Promote, Train, check_samplers
from stepzero.spec.transforms import Columns, Steps, columns_after


class UseCase(Section):
    """All that is declared of a use case; only `name` and `quality` are always needed.

    A file with nothing but a `quality` section serves the gate alone.
    """

    name: str
    title: str = ""
    owner: str = "nobody"
    problem: Problem | None = None
    source: Source | None = None
    tables: dict[str, SourceTable] = Field(default_factory=dict)
    """Several tables instead of one `source`, the first one being joined by the others; see `join`."""
    join: tuple[Join, ...] = ()
    features: Features | None = None
    """Feature groups of the tables, put together as known at a moment; instead of `join`."""
    transforms: Steps = ()
    """What is done to the rows of `source`, step by step, before `prepare.derive`."""
    quality: Quality = Quality()
    prepare: Prepare = Prepare()
    pipeline: Pipeline = Pipeline()
    split: Split = Split()
    weight: Weight | None = None
    resample: tuple[str, ...] = ("none",)
    train: Train | None = None
    recipes: dict[str, Recipe] = Field(default_factory=dict)
    """Other ways to learn, which a run may ask for by name."""
    evaluate: Evaluate = Evaluate()
    compare: Compare = Compare()
    promote: Promote = Promote()
    bias: Bias | None = None
    skew: Skew = Skew()
    monitors: Monitors | None = None
    """What is watched of served traffic; null watches nothing."""
    serve: Serve = Serve()
    """What the endpoint looks up in the online store."""
    scoring: Scoring = Scoring()
    """Batches that the champion scores, and where the scores go."""
    stages: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Settings of the user's own stages, by dotted name."""

    @model_validator(mode="before")
    @classmethod
    def _default_metric(cls, value: Any) -> Any:
        """Let a regression go by its own default metric."""
        return with_default_metrics(value) if isinstance(value, dict) else value

    @model_validator(mode="before")
    @classmethod
    def _tables_as_datasets(cls, value: Any) -> Any:
        return with_table_datasets(value)

    @field_validator("name")
    @classmethod
    def _name(cls, value: str) -> str:
        if not NAME.fullmatch(value):
            msg = f"a name is lower case letters, digits and underscores, not {value!r}"
            raise ValueError(msg)
        return value

    @field_validator("resample", mode="after")
    @classmethod
    def _samplers(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return check_samplers(value)

    @model_validator(mode="after")
    def _columns(self) -> UseCase:
        known = {*self._arriving(), *self.prepare.derive}
        if self.problem and (self.source or self.tables):
            self._must_know(known, self.problem.target, ("problem", "target"))
            for group in ("scale", "impute", "outliers"):
                for kind, columns in getattr(self.pipeline, group).items():
                    for column in columns:
                        self._must_know(known, column, ("pipeline", group, kind))
            self._check_bias(known)
            self._check_set_aside(known, self.problem.target)
            self._check_monitors(known)
        return self

    @model_validator(mode="after")
    def _served(self) -> UseCase:
        check_serve(self.serve, self.features, table_columns(self.tables) if self.serve.groups else {})
        return self

    def _arriving(self) -> Columns:
        """Return the columns that `prepare` is given."""
        if self.source and self.tables:
            raise ElsewhereError("either source or tables", location=("tables",), value=", ".join(self.tables))
        if self.join and not self.tables:
            raise ElsewhereError("tables to join", location=("join",), value=self.join[0].table)
        if self.tables and self.transforms:
            msg = "transforms of a table stand in tables.NAME.transforms"
            raise ElsewhereError(msg, location=("transforms",), value=f"{len(self.transforms)} steps")
        if self.tables and (self.quality.rules or self.quality.anomalies):
            msg = (
                "rules of a table stand in tables.NAME.quality; only after_prepare and predictions speak of joined rows"
            )
            raise ElsewhereError(msg, location=("quality",), value="rules")
        if self.features:
            if self.join:
                msg = "either join or features: features are looked up as known at a moment"
                raise ElsewhereError(msg, location=("join",), value=self.join[0].table)
            return featured_columns(table_columns(self.tables), self.features)
        if self.tables:
            return joined_columns(self.tables, self.join)
        return columns_after(self.source.columns, self.transforms, ("transforms",)) if self.source else {}

    def _check_bias(self, known: set[str]) -> None:
        for facet in self.bias.facets if self.bias else ():
            self._must_know(known, facet, ("bias", "facets", facet))
        if self.bias and self.bias.group:
            self._must_know(known, self.bias.group, ("bias", "group"))
        if self.bias and self.bias.mitigate and self.bias.mitigate.method == "reweighing":
            self._must_take_weights("bias.mitigate reweighs")

    def _must_take_weights(self, because: str) -> None:
        for name, model in self.train.models.items() if self.train else ():
            if not model.sample_weight:
                msg = f"sample_weight: true for every model where {because}: it would change nothing"
                raise ElsewhereError(msg, location=("train", "models", name), value="no sample_weight")

    def _check_monitors(self, known: set[str]) -> None:
        monitors = self.monitors
        if monitors is None:
            return
        if self.bias and self.bias.mitigate and self.bias.mitigate.method == "thresholds":
            msg = "reweighing or oversampling where traffic is watched: monitors know one threshold for all rows"
            raise ElsewhereError(msg, location=("bias", "mitigate", "method"), value="thresholds")
        if monitors.bias and self.bias is None:
            msg = "a bias section, which declares groups, where decisions of groups are watched"
            raise ElsewhereError(msg, location=("monitors", "bias"), value="declared")
        check_captured(self.serve, self.bias if monitors.bias else None, self.prepare.set_aside)
        if monitors.triage.window.half_life:
            self._must_take_weights("monitors.triage.window.half_life weighs rows by their age")
        if monitors.reference.time:
            self._must_know(known, monitors.reference.time, ("monitors", "reference", "time"))
        if self.prepare.sql:
            return  # its columns are known when it has run
        for name in ("columns", "ignore"):
            for column in getattr(monitors.data_drift, name, None) or ():
                self._must_know(known, column, ("monitors", "data_drift", name))

    def _check_set_aside(self, known: set[str], target: str) -> None:
        used = {
            column
            for part in ("scale", "impute", "outliers")
            for names in getattr(self.pipeline, part).values()
            for column in names
        }
        for column in self.prepare.set_aside:
            self._must_know(known, column, ("prepare", "set_aside"))
            if column in {target, *used, *self.pipeline.one_hot}:
                msg = "a column that models do without: neither the target nor one that the pipeline takes"
                raise ElsewhereError(msg, location=("prepare", "set_aside"), value=column)

    @model_validator(mode="after")
    def _kind(self) -> UseCase:
        check_kind(self)
        check_recipes(self)
        return self

    @model_validator(mode="after")
    def _schema(self) -> UseCase:
        for number, rule in enumerate(self.quality.rules):
            if isinstance(rule, SchemaRule):
                self._check_schema(rule, number)
        return self

    def _check_schema(self, rule: SchemaRule, number: int) -> None:
        place = ("quality", "rules", number)
        if (rule.columns is None) is (self.source is None):
            msg = "none: they are those of source.columns" if self.source else "columns: there is no source section"
            raise ElsewhereError(msg, location=(*place, "columns"), value=rule.columns)
        if self.source and rule.severity == "warning":
            msg = "error: with a source section, other columns than its own cannot be read"
            raise ElsewhereError(msg, location=(*place, "severity"), value=rule.severity)

    @staticmethod
    def _must_know(known: set[str], column: str, location: tuple[str, ...]) -> None:
        if column not in known:
            msg = f"a column of source.columns or a derived one; {did_you_mean(column, known)}"
            raise ElsewhereError(msg, location=location, value=column)

    def of_table(self, name: str) -> UseCase:
        """Return the use case as the gate sees it that judges one of several tables.

        Raises:
            SpecError: There is no such table.
        """
        if name not in self.tables:
            allowed = did_you_mean(name, self.tables) if self.tables else "no table: the use case has one source"
            raise SpecError(f"{self.name}: table", value=bare(name), allowed=allowed, action="correct the parameter")
        table = self.tables[name]
        return self.model_copy(update={"source": table.source, "quality": table.quality})

    def section_digest(self, name: str) -> str:
        """Return the digest of one section, defaults included."""
        from stepzero.core.digests import digest_json

        return digest_json(self.model_dump(mode="json", by_alias=True)[name])
