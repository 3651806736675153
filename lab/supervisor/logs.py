"""One log file a process, turned over at each start."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

KEPT = 5
TAIL_BYTES = 256 * 1024


def log_file(data_folder: Path, name: str) -> Path:
    """Return the log file of a process."""
    return data_folder / "logs" / f"{name}.log"


def turn_over(file: Path) -> None:
    """Move `x.log` to `x.log.1`, that one to `x.log.2`, and drop the oldest."""
    file.parent.mkdir(mode=0o750, exist_ok=True)
    for number in range(KEPT, 0, -1):
        older = file.with_name(f"{file.name}.{number}")
        newer = file.with_name(f"{file.name}.{number - 1}") if number > 1 else file
        if newer.exists():
            newer.replace(older)


def last_lines(file: Path, n_lines: int) -> list[str]:
    """Return the last lines of a log (of its last 256 KiB); none when there is no file."""
    if not file.exists():
        return []
    with file.open("rb") as stream:
        stream.seek(max(0, file.stat().st_size - TAIL_BYTES))
        return stream.read().decode(errors="replace").splitlines()[-n_lines:]


def follow(files: Sequence[Path], poll_s: float = 0.2) -> Iterator[str]:
    """Return the lines that are written from now on, also after a turn-over; never ends."""
    return _new_lines({file: _size(file) for file in files}, poll_s)


def _new_lines(read: dict[Path, int], poll_s: float) -> Iterator[str]:
    while True:
        for file in read:
            if _size(file) < read[file]:
                read[file] = 0  # turned over
            if _size(file) > read[file]:
                with file.open(errors="replace") as stream:
                    stream.seek(read[file])
                    yield from (line.rstrip("\n") for line in stream)
                    read[file] = stream.tell()
        time.sleep(poll_s)


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0
