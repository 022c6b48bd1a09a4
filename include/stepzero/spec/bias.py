"""The `bias` section: whom a model could treat differently, how that is measured, and how much is allowed."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from stepzero.spec.base import Section

BEFORE_METRICS = ("CDDL", "CI", "DPL", "JS", "KL", "KS", "LP", "TVD")
"""Metrics of labels, before training."""
AFTER_METRICS = ("AD", "CDDPL", "DAR", "DCA", "DCR", "DI", "DPPL", "DRR", "FT", "GE", "RD", "SD", "TE")
"""Metrics of predictions, after training."""

Value = bool | int | float | str


def _as_list(value: Any) -> Any:
    return value if isinstance(value, list | tuple) else [value]


class Facet(Section):
    """Who may be disfavoured: rows with certain values of a column, or rows above a threshold.

    Each value, and each threshold, is measured by itself against all other rows. A list within the list is one
    group: ``values: [female, [other, unknown]]``. A row without a value belongs to "all other rows"; of served traffic,
    where nothing may be known of a request, it is left out.
    """

    values: Annotated[tuple[Value | tuple[Value, ...], ...], BeforeValidator(_as_list)] = ()
    above: Annotated[tuple[float, ...], BeforeValidator(_as_list)] = ()
    """Thresholds of a continuous column; a row is disfavoured when it lies above."""

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        return value if isinstance(value, dict) else {"values": value}

    @model_validator(mode="after")
    def _one(self) -> Facet:
        if bool(self.values) == bool(self.above):
            msg = "a facet has values, or thresholds above which a row is disfavoured: values: [1] or above: 40"
            raise ValueError(msg)
        return self


class Favourable(Section):
    """The outcome that people want: certain values of the target, or values above a threshold."""

    values: Annotated[tuple[Value, ...], BeforeValidator(_as_list)] = ()
    above: float | None = None

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        return value if isinstance(value, dict) else {"values": value}

    @model_validator(mode="after")
    def _one(self) -> Favourable:
        if bool(self.values) == (self.above is not None):
            msg = "the favourable label is a value of the target, several, or a threshold: 0, [4, 5] or above: 3.5"
            raise ValueError(msg)
        return self


class BiasLimit(Section):
    """What a metric must not leave; a bare number bounds its distance from "no difference" (0; 1 for DI)."""

    within: float | None = Field(default=None, ge=0)
    at_least: float | None = None
    at_most: float | None = None

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        return value if isinstance(value, dict) else {"within": value}

    @model_validator(mode="after")
    def _some(self) -> BiasLimit:
        if self.within is None and self.at_least is None and self.at_most is None:
            msg = "a limit is a number, or has at_least, at_most or both"
            raise ValueError(msg)
        return self


class BiasLimits(Section):
    """Limits by metric, for every facet value; one that is broken is a verdict that says no."""

    before: dict[str, BiasLimit] = Field(default_factory=dict)
    after: dict[str, BiasLimit] = Field(default_factory=dict)

    @field_validator("before", "after")
    @classmethod
    def _known(cls, value: dict[str, BiasLimit], info: Any) -> dict[str, BiasLimit]:
        from stepzero.core.errors import did_you_mean

        known = BEFORE_METRICS if info.field_name == "before" else AFTER_METRICS
        for name in value:
            if name not in known:
                msg = f"a bias metric {info.field_name} training, not {name!r}; {did_you_mean(name, known)}"
                raise ValueError(msg)
        return value


class Mitigate(Section):
    """What the `mitigate` stage does about the first value of a facet."""

    method: Literal["reweighing", "oversampling", "thresholds"]
    """Weigh training rows, repeat them, or draw the line elsewhere for each group."""
    facet: str
    """One of `facets`."""
    seed: int = Field(default=7, ge=0, le=2**31 - 1)
    """Of oversampling."""
    equalise: Literal["acceptance", "recall"] = "acceptance"
    """Of thresholds: both groups have the same share of favourable decisions, or of those who should have one."""


class Bias(Section):
    """Whom to look at, which outcome they want, and what is allowed."""

    favourable: Favourable
    facets: dict[str, Facet] = Field(min_length=1)
    """Column → who is disfavoured. A column that `prepare.set_aside` keeps from the models can be measured."""
    group: str | None = None
    """Column for the conditional metrics (CDDL, CDDPL); without it they have no value, and say so."""
    limits: BiasLimits = BiasLimits()
    mitigate: Mitigate | None = None

    @model_validator(mode="after")
    def _facet(self) -> Bias:
        from stepzero.core.errors import did_you_mean

        if self.mitigate and self.mitigate.facet not in self.facets:
            msg = f"mitigate.facet is one of the facets, not {self.mitigate.facet!r}; " + did_you_mean(
                self.mitigate.facet, self.facets
            )
            raise ValueError(msg)
        return self
