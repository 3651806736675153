"""The secrets that the lab's processes share, made once and kept in a file."""

import json
import os
import secrets
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from lab.errors import ConfigError

FILE = Path("secrets") / "credentials.json"


@dataclass(frozen=True)
class Credentials:
    """One secret for each pair of processes that must trust each other."""

    api: str
    dashboards: str
    scheduler: str
    supervisor: str
    proxy: str
    cookie: str

    def __repr__(self) -> str:
        return "Credentials(**********)"


def load_credentials(data_folder: Path) -> Credentials:
    """
    Return the secrets of this data folder; missing ones are made and stored.

    Raises
    ------
    ConfigError
        If the file cannot be read as the secrets of a lab.
    """
    file = data_folder / FILE
    stored = _read(file) if file.exists() else {}
    # 32 bytes as hex: the hub wants its cookie secret so, and takes tokens of up to 64 characters.
    made = {field.name: secrets.token_hex(32) for field in fields(Credentials)}
    credentials = Credentials(**{name: stored.get(name, new) for name, new in made.items()})
    if asdict(credentials) != stored:
        _write(file, credentials)
    return credentials


def _read(file: Path) -> dict[str, str]:
    try:
        stored = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"The secrets of the lab in `{file}` cannot be read ({error}); restore the file, or "
            "delete it to make new ones: everybody has to log in again then."
        ) from error
    return {str(name): str(value) for name, value in stored.items()}


def _write(file: Path, credentials: Credentials) -> None:
    file.parent.mkdir(mode=0o700, exist_ok=True)
    draft = file.with_suffix(".new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
        json.dump(asdict(credentials), stream, indent=2)
    draft.rename(file)
