"""A command group that imports a command only when it is called; ``--help`` needs none of them."""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command


@dataclass(frozen=True, slots=True)
class Leaf:
    """A command: the function ``name`` of ``alphapulse.cli.{module}``."""

    module: str
    function: str
    help: str


@dataclass(frozen=True, slots=True)
class Branch:
    """Commands under a common word."""

    help: str
    commands: Mapping[str, Leaf]


class LazyGroup(TyperGroup):
    """``table`` names the commands; each is imported when asked for by name."""

    table: Mapping[str, Leaf | Branch]

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002
        return list(self.table)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002
        entry = self.table.get(cmd_name)
        if entry is None:
            return None
        return (
            group(cmd_name, entry.help, entry.commands)
            if isinstance(entry, Branch)
            else _load(cmd_name, entry)
        )

    def format_help(self, ctx: Any, formatter: Any) -> None:
        summaries = _Summaries(name=self.name, help=self.help, params=self.params)
        summaries.table = self.table
        summaries.rich_markup_mode = self.rich_markup_mode
        TyperGroup.format_help(summaries, ctx, formatter)


class _Summaries(LazyGroup):
    """The same group as its help page needs it: names and a line for each."""

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002
        return TyperCommand(name=cmd_name, help=self.table[cmd_name].help)


def group(name: str | None, help_text: str, table: Mapping[str, Leaf | Branch]) -> LazyGroup:
    made = LazyGroup(name=name, help=help_text, no_args_is_help=True)
    made.table = table
    return made


def _load(name: str, leaf: Leaf) -> Any:
    function = getattr(importlib.import_module(f"alphapulse.cli.{leaf.module}"), leaf.function)
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command(name, help=function.__doc__ or leaf.help)(function)
    return get_command(app)
