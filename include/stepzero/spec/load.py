"""Reading YAML files into models, with file, line and a suggestion in every error."""

from __future__ import annotations

import contextlib
import os
import re
import types
import typing
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from stepzero.core.errors import SpecError, bare, did_you_mean
from stepzero.spec.base import NAME, ElsewhereError
from stepzero.spec.environment import Environment
from stepzero.spec.quality import RULES
from stepzero.spec.transforms import STEPS
from stepzero.spec.use_case import UseCase

Model = TypeVar("Model", bound=BaseModel)
Location = tuple[int | str, ...]
_TAGS, _UNION = frozenset((*RULES, *STEPS)), "tagged-union["
_VARIABLE = re.compile(r"\$\{([A-Z][A-Z0-9_]*)(?::-([^}]*))?\}")


def include_folder() -> Path:
    """Return the project's ``include`` folder.

    ``STEPZERO_INCLUDE``, or where this package lies; when it is installed from its wheel, the
    folder ``include`` of Airflow's home or of the current directory.
    """
    if given := os.environ.get("STEPZERO_INCLUDE"):
        return Path(given)
    source = Path(__file__).resolve().parents[2]
    if (source / "environments").is_dir():
        return source
    return Path(os.environ.get("AIRFLOW_HOME") or Path.cwd()) / "include"


def project_file(path: str) -> Path:
    """Return a file of the ``include`` folder, or else ours of that name (environments, jobs).

    Ours lie beside this package in the source tree, and within it in the wheel.
    """
    package = Path(__file__).resolve().parents[1]
    own, *ours = (folder / path for folder in (include_folder(), package / "project", package.parent))
    return own if own.is_file() else next((file for file in ours if file.is_file()), own)


def home_folder() -> Path:
    """Return where local state lives: ``STEPZERO_HOME``, or ``.stepzero`` in the project."""
    return Path(os.environ.get("STEPZERO_HOME") or include_folder().parent / ".stepzero")


def load_use_case(name: str) -> UseCase:
    """Read ``include/usecases/NAME.yaml``, or the file at a path that ends in ``.yaml``.

    Raises:
        SpecError: There is no such file, or it says something impossible.
    """
    return read_model(_find(name, "usecases", "use case"), UseCase)


def use_case_names() -> list[str]:
    """Return the names of all files in ``include/usecases``."""
    return sorted(path.stem for path in (include_folder() / "usecases").glob("*.yaml"))


def batch_owners() -> list[str]:
    """Return what batches belong to: a use case by its name, or each of its tables as ``USE_CASE.TABLE``.

    A file that cannot be read stands with its name alone: what is wrong with it is told by whoever uses it.
    """
    owners: list[str] = []
    for name in use_case_names():
        tables: Any = None
        with contextlib.suppress(SpecError):
            tables = _read_yaml(include_folder() / "usecases" / f"{name}.yaml").get("tables")
        owners += [f"{name}.{table}" for table in tables] if isinstance(tables, dict) else [name]
    return owners


def load_environment(name: str | None = None) -> Environment:
    """Read an environment file by name, ``STEPZERO_ENVIRONMENT``, or ``local``.

    ``extends: NAME`` merges over another file; ``${VARIABLE:-default}`` is replaced in every text.

    Raises:
        SpecError: There is no such file, or it says something impossible.
    """
    path = _find(name or os.environ.get("STEPZERO_ENVIRONMENT") or "local", "environments", "environment")
    data = _extended(path)
    variables = {"STEPZERO_HOME": str(home_folder()), **os.environ}
    return validate(_substituted(data, variables), Environment, path)


def read_model(path: Path, model: type[Model]) -> Model:
    """Read one YAML file into a model.

    Raises:
        SpecError: The file is missing, is not YAML, or does not fit; says file, line and what would fit.
    """
    data = _read_yaml(path)
    return validate(_with_sql(data, path) if model is UseCase else data, model, path)


def validate(data: Any, model: type[Model], path: Path | None = None) -> Model:
    """Check data against a model; errors name file and line where there is a file.

    Raises:
        SpecError: It does not fit; the first problem is told, with the number of others.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise _explain(error, model, path) from error


def _find(name: str, folder: str, kind: str) -> Path:
    if name.endswith((".yaml", ".yml")):
        return Path(name)
    path = project_file(f"{folder}/{name}.yaml")
    if not NAME.fullmatch(name) or not path.is_file():
        known = [file.stem for file in path.parent.glob("*.yaml")] if path.parent.is_dir() else []
        raise SpecError(
            f"{kind} {name}", value=name, allowed=did_you_mean(name, known), action=f"correct the name or add {path}"
        )
    return path


def _with_sql(data: Any, path: Path) -> Any:
    """Put the text of a SQL file where its name stands: the plan of a run holds all that it says."""
    section = data.get("prepare") if isinstance(data, dict) else None
    if not isinstance(section, dict):
        return data
    name = section.get("sql")
    if not isinstance(name, str) or not name.endswith(".sql"):
        return data
    file = path.parent / name
    if Path(name).name != name or not file.is_file():
        known = [one.name for one in path.parent.glob("*.sql")]
        raise SpecError(
            f"{path}: prepare.sql",
            value=name,
            allowed=f"a file beside it; {did_you_mean(name, known)}" if known else "a file beside it",
            action="correct the name, or add the file",
        )
    return {**data, "prepare": {**section, "sql": file.read_text(encoding="utf-8")}}


def _read_yaml(path: Path) -> Any:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise SpecError(
            str(path), value=bare(error.strerror), allowed="a readable file", action="check the path"
        ) from error
    try:
        data = _load_quickly(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", str(error))
        raise SpecError(f"{path.name}{line}", value=bare(problem), allowed="YAML", action="correct the line") from error
    if not isinstance(data, dict):
        raise SpecError(
            path.name, value=data, allowed="a mapping of sections", action="see include/usecases for examples"
        )
    return data


def _load_quickly(text: str) -> Any:
    """Read by libyaml, eight times as fast, since every task reads these files; what it refuses, Python explains."""
    with contextlib.suppress(yaml.YAMLError, AttributeError):  # not every build of PyYAML has libyaml
        return yaml.load(text, Loader=yaml.CSafeLoader)
    return yaml.safe_load(text)


def _extended(path: Path) -> dict[str, Any]:
    data = dict(_read_yaml(path))
    base = data.pop("extends", None)
    return _merged(_extended(_find(base, "environments", "environment")), data) if base else data


def _merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    result = dict(base)
    for name, value in over.items():
        both = isinstance(value, dict) and isinstance(result.get(name), dict)
        result[name] = _merged(result[name], value) if both else value
    return result


def _substituted(value: Any, variables: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {name: _substituted(item, variables) for name, item in value.items()}
    if isinstance(value, list):
        return [_substituted(item, variables) for item in value]
    if isinstance(value, str):
        return _VARIABLE.sub(lambda match: variables.get(match[1]) or match[2] or "", value)
    return value


def _explain(error: ValidationError, model: type[BaseModel], path: Path | None) -> SpecError:
    problems = error.errors(include_url=False)
    first = problems[0]
    location = first["loc"]
    allowed = first["msg"].removeprefix("Value error, ")
    value: object = first.get("input")
    cause = first.get("ctx", {}).get("error")
    if isinstance(cause, ElsewhereError):
        location, value = (*location, *cause.location), cause.value
    if first["type"] == "extra_forbidden":
        known = _fields_at(model, location[:-1])
        allowed = f"a known key; {did_you_mean(str(location[-1]), known)}"
        value = location[-1]
    more = f" ({len(problems) - 1} more problems in this file)" if len(problems) > 1 else ""
    file = f"{path.name}{_line(path, location)} " if path else ""
    name = ".".join(str(part) for part in _plain(location))
    return SpecError(f"{file}{name}".strip(), value=value, allowed=allowed, action=f"correct it{more}")


def _plain(location: Location) -> Location:
    """Drop what pydantic adds to a location: union tags and class names."""
    return tuple(part for i, part in enumerate(location) if not _is_tag(location, i))


def _is_tag(location: Location, i: int) -> bool:
    part, before = location[i], location[i - 1] if i else ""
    if not isinstance(part, str):
        return False
    if part.startswith(_UNION) or part in {"CustomRule", "CustomStep"}:
        return True
    chosen = isinstance(before, int) or before.startswith(_UNION)
    return chosen and part in _TAGS and i < len(location) - 1


def _line(path: Path, location: Location) -> str:
    node: Any = yaml.compose(path.read_text(encoding="utf-8"))
    line = node.start_mark.line
    for part in _plain(location):
        found = _child(node, part)
        if found is None:
            break
        line, node = found
    return f":{line + 1}"


def _child(node: Any, part: int | str) -> tuple[int, Any] | None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == str(part):
                return key.start_mark.line, value
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        return node.value[part].start_mark.line, node.value[part]
    return None


def _fields_at(model: type[BaseModel], location: Location) -> list[str]:
    """Return the keys that a model knows at a location, over all members of a union."""
    models: list[type[BaseModel]] = [model]
    for part in location:
        inner: list[type[BaseModel]] = []
        for candidate in models:
            field = candidate.model_fields.get(str(part))
            inner += _models_in(field.annotation) if field else []
        models = inner or models
    return sorted({field.alias or name for found in models for name, field in found.model_fields.items()})


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if (
        isinstance(annotation, type)
        and not isinstance(annotation, types.GenericAlias)
        and issubclass(annotation, BaseModel)
    ):
        return [annotation]
    return [found for part in typing.get_args(annotation) for found in _models_in(part)]
