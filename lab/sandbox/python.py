"""
Python code that nobody trusts, in a child process behind walls that work without root.

Landlock closes the file system, seccomp all but some eighty harmless system calls, limits of the
kernel bound memory, processor time and files; where the lab is root, the code runs as an account
that owns nothing. A machine that lacks one of the walls is told so, and runs no code.
"""

import asyncio
import json
import math
import os
import shutil
import sys
import sysconfig
import time
from asyncio.subprocess import Process
from collections.abc import Mapping
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile, gettempdir
from typing import IO, Any, Final

import psutil

from lab.errors import InputError, ServiceError
from lab.sandbox.probe import DOORS, PROBE
from lab.sandbox.syscalls import program
from lab.schemas.sandbox_config import SandboxConfig
from lab.schemas.sandbox_end import SandboxEnd
from lab.schemas.sandbox_result import SandboxResult
from lab.waiting import place_of

CHILD: Final = Path(__file__).with_name("child.py")
LIBRARIES: Final = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/share/zoneinfo")
"""Where shared libraries and the zones of the clock are."""
PREFIX: Final = "lab-sandbox-"
"""Of scratch folders; the number of the lab's process follows."""
NICE: Final = 5
"""Code waits for the lab when both want the processor."""
MOST_FILES: Final = 1000
MOST_OPEN: Final = 64
LOOK_S: Final = 0.1
"""Between two looks at what was written."""
AROUND: Final = 2**16
"""Bytes of an answer beside the result."""


class PythonSandbox:
    """
    Runs code; keeps `lab.protocols.Sandbox`.

    Parameters
    ----------
    config : SandboxConfig
        What code may take.
    """

    def __init__(self, config: SandboxConfig) -> None:
        self._config = config
        self._at_once = asyncio.Semaphore(config.at_once)
        self._safe = False

    async def run_python(
        self,
        code: str,
        *,
        function: str | None = None,
        arguments: Mapping[str, Any] | None = None,
        limits: SandboxConfig | None = None,
    ) -> SandboxResult:
        """
        Run code, and return what came of it; cancelling ends it at once.

        Parameters
        ----------
        code : str
            Python source, with the standard library and nothing else.
        function : str, optional
            Call this function of the code, and return what it returns. By default what the last
            line of the code says, where it is an expression.
        arguments : mapping, optional
            JSON arguments of the function.
        limits : SandboxConfig, optional
            What it may take; by default what the lab allows.

        Raises
        ------
        InputError
            If the arguments are no JSON.
        ServiceError
            If this machine has not all that makes it safe.
        """
        async with place_of(self._at_once):
            await self._prove()
            request = {"code": code, "function": function, "arguments": dict(arguments or {})}
            return await self._run(request, limits or self._config)

    async def check(self) -> str:
        """Say how code is locked in here; raise `ServiceError` where it cannot be."""
        await self._prove()
        account = self._uid()
        who = f"account {account}" if account is not None else "the lab's own account"
        return f"code runs as {who}, behind Landlock and seccomp"

    async def _prove(self) -> None:
        """Try every door from inside, once, before any code runs that is not the lab's own."""
        if self._safe:
            return
        await asyncio.to_thread(_sweep)
        probe = {"code": PROBE, "function": "open_doors", "arguments": {}}
        found = await self._run(probe, self._config)
        if found.ended is not SandboxEnd.done:
            raise ServiceError(
                f"Code cannot be run safely here: the trial of the sandbox broke off "
                f"({found.error}). Give it more (settings `sandbox`), or see `lab doctor`."
            )
        if not isinstance(found.value, list) or found.value:
            said = ", ".join(DOORS.get(str(door), str(door)) for door in found.value or ["nothing"])
            raise ServiceError(
                f"Code cannot be run safely here: from inside the sandbox it could {said}. "
                "Run the lab on Linux 5.13 or later with Landlock and seccomp."
            )
        self._safe = True

    async def _run(self, request: Mapping[str, Any], limits: SandboxConfig) -> SandboxResult:
        filters = await asyncio.to_thread(program)
        started = time.monotonic()
        with ExitStack() as stack:
            scratch = Path(
                stack.enter_context(TemporaryDirectory(prefix=f"{PREFIX}{os.getpid()}-"))
            )
            asked, answer, out, err = (stack.enter_context(TemporaryFile()) for _ in range(4))
            self._give(scratch)
            whole = {**request, **self._terms(scratch, limits), "filter": filters.hex()}
            asked.write(_written(whole))
            asked.seek(0)
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", "-u", "-X", "utf8", str(CHILD)),
                str(answer.fileno()),
                stdin=asked,
                stdout=out,
                stderr=err,
                pass_fds=[answer.fileno()],
                env={},
                cwd="/",
                start_new_session=True,
            )
            stopped = await _ended(process, scratch, limits)
            most = limits.output_kib * 1024
            said = _said(answer, most) if stopped is None else {"ended": stopped}
            if "refused" in said:
                if not self._safe:
                    raise _refusal(str(said["refused"]))
                # The walls stand: code wrote it, or was given too little to begin.
                said = {"ended": SandboxEnd.error, "error": said["refused"]}
            return SandboxResult(
                ended=said["ended"],
                value=said.get("value"),
                error=_error(said, limits, process.returncode),
                stdout=_text(out, most),
                stderr=_text(err, most),
                seconds=round(time.monotonic() - started, 3),
            )

    def _terms(self, scratch: Path, limits: SandboxConfig) -> dict[str, Any]:
        """Return what the child gives up."""
        seconds = math.ceil(limits.seconds)
        return {
            "scratch": str(scratch),
            "uid": self._uid(),
            "parent": os.getpid(),
            "nice": NICE,
            "packages": _packages(),
            "readable": _readable(),
            "value_bytes": limits.output_kib * 1024,
            "limits": {
                "RLIMIT_AS": limits.memory_mib * 2**20,
                "RLIMIT_FSIZE": limits.scratch_mib * 2**20,
                "RLIMIT_CPU": seconds + 1,
                "RLIMIT_NOFILE": MOST_OPEN,
                "RLIMIT_NPROC": 0,
                "RLIMIT_CORE": 0,
                "RLIMIT_MEMLOCK": 0,
            },
        }

    def _uid(self) -> int | None:
        """Return the account of the code; None for the lab's own, where that is not root."""
        return self._config.uid if os.geteuid() == 0 else None

    def _give(self, scratch: Path) -> None:
        """Hand the scratch folder to the account of the code."""
        if (uid := self._uid()) is None:
            return
        try:
            os.chown(scratch, uid, uid)
        except OSError as error:
            raise _refusal(f"chown to {uid}: {error.strerror}") from error


def _sweep() -> None:
    """Remove the scratch folders that killed labs left."""
    for folder in Path(gettempdir()).glob(f"{PREFIX}*-*"):
        pid = folder.name.removeprefix(PREFIX).partition("-")[0]
        if pid.isdecimal() and not psutil.pid_exists(int(pid)):
            shutil.rmtree(folder, ignore_errors=True)  # another account's stays


def _written(request: Mapping[str, Any]) -> bytes:
    try:
        return json.dumps(request).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"The arguments of code must be JSON: {error}.") from None


async def _ended(process: Process, scratch: Path, limits: SandboxConfig) -> SandboxEnd | None:
    """Wait for the child, and return why it was stopped; None when it ended by itself."""
    waiting = asyncio.ensure_future(process.wait())
    try:
        end = time.monotonic() + limits.seconds
        while not waiting.done():
            if (left := end - time.monotonic()) <= 0:
                return SandboxEnd.time
            await asyncio.wait({waiting}, timeout=min(left, LOOK_S))
            if _overfull(scratch, limits.scratch_mib * 2**20):
                return SandboxEnd.room
        return None
    finally:
        if process.returncode is None:
            process.kill()
        await waiting


def _overfull(scratch: Path, most: int) -> bool:
    """Return whether more was written than may be; the folder can hold nothing but files."""
    n_bytes = 0
    with os.scandir(scratch) as entries:
        for n_files, entry in enumerate(entries, 1):
            try:
                n_bytes += entry.stat(follow_symlinks=False).st_blocks * 512
            except FileNotFoundError:
                continue
            if n_files > MOST_FILES or n_bytes > most:
                return True
    return False


def _said(answer: IO[bytes], most: int) -> dict[str, Any]:
    """Return what the child answered, which may be anything; as JSON has it, and no more."""
    answer.seek(0)
    try:
        said = json.loads(answer.read(most + AROUND), parse_constant=_no_number)
        clean: Any = json.loads(json.dumps(said, ensure_ascii=False).encode("utf-8", "replace"))
        SandboxEnd(clean.get("ended", SandboxEnd.done))
    except (ValueError, AttributeError, RecursionError):
        return {"ended": SandboxEnd.killed}
    return clean if clean.keys() & {"ended", "refused"} else {"ended": SandboxEnd.killed}


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


def _error(said: Mapping[str, Any], limits: SandboxConfig, code: int | None) -> str | None:
    match SandboxEnd(said["ended"]):
        case SandboxEnd.done:
            return None
        case SandboxEnd.error:
            return str(said.get("error"))
        case SandboxEnd.time:
            return f"It took longer than {limits.seconds:g} s (sandbox.seconds)."
        case SandboxEnd.memory:
            return f"It needs more than {limits.memory_mib} MiB of memory (sandbox.memory_mib)."
        case SandboxEnd.room:
            return (
                f"It wrote more than {limits.scratch_mib} MiB (sandbox.scratch_mib), or more than "
                f"{MOST_FILES} files."
            )
        case SandboxEnd.killed:
            how = f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
            return f"It ended without a result ({how})."


def _text(file: IO[bytes], most: int) -> str:
    file.seek(0)
    return file.read(most).decode("utf-8", "replace")


def _refusal(reason: str) -> ServiceError:
    return ServiceError(
        f"Code cannot be run safely here ({reason.rstrip('.')}). It needs Linux 5.13 or later with "
        "Landlock (`landlock` among the modules of `lsm=`), seccomp, and a container runtime that "
        "lets both through, such as Docker 23; a lab that is root needs the capabilities CHOWN, "
        "SETUID and SETGID, and a Python that every account can read."
    )


def _packages() -> str:
    """Return the folder that the child imports Landlock from."""
    spec = find_spec("landlock")
    if spec is None or spec.origin is None:
        raise _refusal("the package `landlock` is missing: `pip install landlock`")
    return str(Path(spec.origin).parents[1])


def _readable() -> list[str]:
    """Return the folders that code may read: Python's own library, and what that loads."""
    wanted = (
        sysconfig.get_path("stdlib"),
        sysconfig.get_path("platstdlib"),
        str(Path(sys.base_prefix, "lib")),
        *LIBRARIES,
    )
    return sorted({os.path.realpath(path) for path in wanted if os.path.isdir(path)})
