"""The command line of a server that the lab starts. Imports no torch."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from shutil import which

from lab.errors import ConfigError, ModelLoadError
from lab.schemas.model import Model


def found_command(command: Sequence[str], search: str | None, refusal: str) -> list[str]:
    """
    Return a command with the path of its program, which is looked for beside Python first.

    Parameters
    ----------
    command : sequence of str
        The program and its first arguments.
    search : str or None
        Folders in which programs are looked for; None = those of `PATH`.
    refusal : str
        What is said where there is no such program.

    Raises
    ------
    ModelLoadError
        If there is none.
    """
    program, *rest = command
    found = which(program, path=str(Path(sys.executable).parent)) or which(program, path=search)
    if found is None:
        raise ModelLoadError(refusal)
    return [found, *rest]


def options(values: Mapping[str, object]) -> list[str]:
    """Return arguments of a command line; an option of None is left to the program."""
    return [
        part
        for name, value in values.items()
        if value is not None
        for part in (f"--{name}", str(value))
    ]


def check_no_name_twice(models: Iterable[Model], setting: str) -> None:
    """Raise `ConfigError` where two models of a setting have one name."""
    ids = [model.id for model in models]
    if twice := next((one for one in ids if ids.count(one) > 1), None):
        raise ConfigError(f"Two models of {setting} are called `{twice}`; give one a `name`.")
