"""
The command line: `lab <noun> <verb>`.

Commands live in `lab/commands/`, and each module is imported only when its command runs, so that
`lab --help` costs nothing.
"""

from importlib import import_module
from typing import Any, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup

from lab.errors import LabError


class Entry(NamedTuple):
    """Where a command is written, and its line in `lab --help`."""

    module: str
    summary: str


COMMANDS = {
    "up": Entry("stack", "Start the whole lab."),
    "down": Entry("stack", "Stop the lab of this data folder."),
    "status": Entry("stack", "Show the processes of the lab, and where its cache is."),
    "logs": Entry("stack", "Show what the lab's processes wrote."),
    "serve": Entry("serve", "Run the API alone, without a hub; clients use API keys."),
    "chat": Entry("chat", "Talk to a model in the terminal."),
    "window": Entry("window", "Show what a model would see before it answers, and why."),
    "memories": Entry("memories", "What the lab remembers of you."),
    "runs": Entry("runs", "What was asked, and what happens in it."),
    "documents": Entry("documents", "The documents that the lab reads for you."),
    "tools": Entry("tools", "The tools that models may call and the lab runs."),
    "web": Entry("web", "Search the web, and read pages that are kept for you."),
    "research": Entry(
        "research", "Answer questions by pages of the web, with citations that are verified."
    ),
    "image": Entry("image", "Make a picture from words, or change one."),
    "audio": Entry("audio", "Write down what is said, and speak."),
    "models": Entry("models", "The models of this lab."),
    "profiles": Entry("profiles", "Models with parameters and system prompt, under names."),
    "gpu": Entry("gpu", "Show who holds which memory of the devices, and why."),
    "usage": Entry("usage", "Show what models were used for, by day."),
    "eval": Entry("evaluations", "Evaluations and their schedules."),
    "train": Entry("training", "Train models on this machine."),
    "db": Entry("database", "Look after the database."),
    "users": Entry("users", "The people who may log in."),
    "keys": Entry("keys", "API keys for programs outside of the hub."),
    "config": Entry("config", "The settings and where each comes from."),
    "doctor": Entry("doctor", "Check that this machine can run the lab."),
}


class LabGroup(TyperGroup):
    """Finds commands by the table above and imports the one that runs."""

    def __init__(self, **attributes: Any) -> None:
        shown = {name: TyperCommand(name, help=entry.summary) for name, entry in COMMANDS.items()}
        super().__init__(**{**attributes, "commands": shown})

    def resolve_command(self, ctx: typer.Context, args: list[str]) -> tuple[Any, Any, list[str]]:  # type: ignore[override]
        """Return the command that is asked for, imported."""
        name, _, rest = super().resolve_command(ctx, args)
        import_module("lab.logs").log_to_stderr()
        return name, load(str(name)), rest

    def invoke(self, ctx: typer.Context) -> Any:  # type: ignore[override]
        """Run the command; an error of the lab is one line, without a traceback."""
        try:
            return super().invoke(ctx)
        except LabError as error:
            typer.echo(f"Error: {error}", err=True)
            raise typer.Exit(1) from None


def load(name: str) -> Any:
    """Return a command with everything it needs."""
    module = import_module(f"lab.commands.{COMMANDS[name].module}")
    command = typer.main.get_command(module.app)
    return command.commands.get(name, command) if isinstance(command, TyperGroup) else command


main = typer.Typer(
    cls=LabGroup, no_args_is_help=True, add_completion=False, rich_markup_mode="markdown"
)


@main.callback()
def lab() -> None:
    """Run a research lab for language models: chat, memory, notebooks, evaluations."""
