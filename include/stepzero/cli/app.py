"""The table of commands: name, where its function is, and nothing imported before it is needed."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

import typer
from typer.core import TyperGroup

from stepzero.core.errors import StepzeroError
from stepzero.core.logs import configure

COMMANDS: dict[str, str] = {
    "run": "stepzero.cli.run:run",
    "setup": "stepzero.cli.services:setup",
    "up": "stepzero.cli.services:up",
    "down": "stepzero.cli.services:down",
    "status": "stepzero.cli.services:status",
    "doctor": "stepzero.cli.doctor:doctor",
    "lock": "stepzero.cli.lock:lock",
    "why": "stepzero.cli.why:why",
    "plan": "stepzero.cli.plan:plan",
    "results": "stepzero.cli.results:results",
    "verify": "stepzero.cli.verify:verify",
    "diff": "stepzero.cli.history:diff",
    "lineage": "stepzero.cli.history:show_lineage",
    "stages": "stepzero.cli.why:stages",
    "data": "stepzero.cli.data:app",
    "labels": "stepzero.cli.labels:labels",
    "rollback": "stepzero.cli.rollback:rollback",
    "features": "stepzero.cli.features:features",
    "release": "stepzero.cli.release:release",
    "check": "stepzero.cli.check:check",
    "sweep": "stepzero.cli.sweep:sweep",
    "suggest": "stepzero.cli.suggest:suggest",
    "bench": "stepzero.cli.bench:bench",
    "serve": "stepzero.cli.serve:serve",
    "endpoint-host": "stepzero.cli.endpoint_host:endpoint_host",
    "preload": "stepzero.cli.preload:preload",
    "stage": "stepzero.cli.stage:stage",
}
"""A function with Typer's annotations, or a `typer.Typer` of several."""


class LazyGroup(TyperGroup):
    """A group whose commands are imported when asked for, and whose errors have four parts."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002
        """Return the names in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002
        """Import one command; None for an unknown name."""
        target = COMMANDS.get(cmd_name)
        if target is None:
            return None
        module, _, name = target.partition(":")
        try:
            found = getattr(importlib.import_module(module), name)
        except ModuleNotFoundError as error:
            if error.name != module:
                raise
            return None
        if isinstance(found, typer.Typer):
            return _named(typer.main.get_command(found), cmd_name)
        alone = typer.Typer(add_completion=False, rich_markup_mode=None)
        settings = {"ignore_unknown_options": True} if cmd_name in {"stage", "bench"} else {}
        alone.command(cmd_name, context_settings=settings, add_help_option=cmd_name != "stage")(found)
        return _named(typer.main.get_command(alone), cmd_name)

    def invoke(self, ctx: Any) -> Any:
        """Run a command; an error of ours becomes its text and its exit status."""
        try:
            return super().invoke(ctx)
        except StepzeroError as error:
            sys.stderr.write(f"stepzero: {error}\n")
            raise typer.Exit(error.exit_status) from error


app = typer.Typer(
    cls=LazyGroup, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None
)


@app.callback()
def _start() -> None:
    """From a landed file to a served champion, with a quality gate as step zero."""
    configure()
    _find_s3()


def _find_s3() -> None:
    """Let what this command reads from S3 find it, where the environment says where that is."""
    from stepzero.launchers.runtime import s3_variables
    from stepzero.spec.load import load_environment

    try:
        found = s3_variables(load_environment())
    except StepzeroError:
        return  # the command itself says what is wrong, if it needs it
    for name, value in found.items():
        os.environ.setdefault(name, value)


def _named(command: Any, name: str) -> Any:
    command.name = name
    return command
