"""What devices that ran out of memory were found to bear, kept in a file."""

import json
import threading
from dataclasses import asdict
from pathlib import Path

import structlog

from lab.errors import ConfigError
from lab.pipelines.room import Limits

log = structlog.get_logger(__name__)


class LearnedLimits:
    """
    Limits by model, form and device; safe to use on any thread.

    Parameters
    ----------
    file : Path or None
        Where they outlive the process; None = they do not.

    Raises
    ------
    ConfigError
        If the file is there and cannot be read.
    """

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._limits = _read(file) if file is not None and file.is_file() else {}

    def within(self, key: str, wanted: Limits) -> Limits:
        """Return the wanted limits, or what was learned where that is less."""
        learned = self._limits.get(key, wanted)
        return Limits(
            min(learned.streams, wanted.streams),
            min(learned.prefill_tokens, wanted.prefill_tokens),
        )

    def learn(self, key: str, limits: Limits) -> None:
        """Keep limits."""
        with self._lock:
            self._limits[key] = self.within(key, limits)
            self._write()

    def forget(self, beginning: str) -> None:
        """Drop what was learned of all whose key begins so."""
        with self._lock:
            self._limits = {k: v for k, v in self._limits.items() if not k.startswith(beginning)}
            self._write()

    def _write(self) -> None:
        if self._file is None:
            return
        draft = self._file.with_suffix(".part")
        values = {key: asdict(limits) for key, limits in self._limits.items()}
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            draft.write_text(json.dumps(values, indent=2), encoding="utf-8")
            draft.replace(self._file)
        except OSError as error:  # answers go on; they are learned anew after a restart
            log.warning("learned limits not kept", file=str(self._file), reason=str(error))


def _read(file: Path) -> dict[str, Limits]:
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        found = {key: Limits(**limits) for key, limits in values.items()}
        if not all(int(n) >= 1 for one in found.values() for n in asdict(one).values()):
            raise ValueError("a limit is less than 1")
        return found
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"{file} holds the limits that devices were found to bear, and cannot be read "
            f"({error}); delete it, and they are found anew."
        ) from error
