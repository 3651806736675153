"""
Run one piece of code: `python -I -S child.py ANSWER`, with the request as standard input.

ANSWER is the number of a file descriptor, to which what came of it is written as JSON. The code
may be made to do harm, so this first gives up all that the code does not need: the account, files,
system calls, memory, processor time. It runs without the lab's packages, and knows none of them.
"""

import ast
import ctypes
import json
import os
import resource
import signal
import sys
import types
from collections.abc import Callable, Mapping
from typing import Any

CODE = "<code>"
"""What stands for a file's name where the code is named."""

_PR_SET_PDEATHSIG, _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 1, 22, 2
_FILTER_BYTES = 8
"""Size of a `struct sock_filter`."""
_MOST_ERROR = 2000
"""Characters of an error."""


class _Program(ctypes.Structure):
    """`struct sock_fprog`."""

    _fields_ = (("n_filters", ctypes.c_ushort), ("filters", ctypes.c_char_p))


def main() -> None:
    """Lock the door, run the code, say what came of it."""
    answer = int(sys.argv[1])
    request = json.load(sys.stdin)
    os.close(0)
    os.open(os.devnull, os.O_RDONLY)
    try:
        _lock(request)
    except Exception as error:
        _say(answer, {"refused": f"{type(error).__name__}: {error}"})
        return
    sys.argv, sys.orig_argv, sys.executable = [""], [], ""
    module = sys.modules["__main__"] = types.ModuleType("__main__")
    _say(answer, _outcome(module.__dict__, request))


def _lock(request: Mapping[str, Any]) -> None:
    """Give up what the code does not need, for good."""
    sys.path.insert(0, request["packages"])
    from landlock import FSAccess, Ruleset  # noqa: PLC0415

    sys.path.remove(request["packages"])
    os.chdir(request["scratch"])
    if request["uid"] is not None:
        os.setgroups([])
        os.setresgid(*[request["uid"]] * 3)
        os.setresuid(*[request["uid"]] * 3)
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, None)
    if os.getppid() != request["parent"]:
        os._exit(1)  # who asked is gone already
    os.nice(request["nice"])
    for name, most in request["limits"].items():
        _limit(getattr(resource, name), most)
    rules = Ruleset()
    read = FSAccess.READ_FILE | FSAccess.READ_DIR
    rules.allow(*request["readable"], rules=read)
    write = read | FSAccess.WRITE_FILE | FSAccess.MAKE_REG
    rules.allow(".", rules=(write | FSAccess.TRUNCATE) & FSAccess.all())
    rules.apply()  # also: no new privileges
    os.close(rules._fd)
    filters = bytes.fromhex(request["filter"])
    program = _Program(len(filters) // _FILTER_BYTES, filters)
    _prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.addressof(program))


def _limit(what: int, most: int) -> None:
    hard = resource.getrlimit(what)[1]
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(what, (most, most))


def _prctl(option: int, number: int, pointer: int | None) -> None:
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    prctl.argtypes = (ctypes.c_int, ctypes.c_ulong, ctypes.c_void_p, *(ctypes.c_ulong,) * 2)
    if prctl(option, number, pointer, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"prctl({option}): {os.strerror(number)}")


def _outcome(names: dict[str, Any], request: Mapping[str, Any]) -> dict[str, Any]:
    try:
        value = _value(names, request["code"])
        default: Callable[[Any], Any] | None = repr
        if request["function"] is not None:
            value = names[request["function"]](**request["arguments"])
            default = None
        written = json.dumps(value, allow_nan=False, default=default)
    except MemoryError:
        return {"ended": "memory"}
    except BaseException as error:  # whatever the code raises, an exit too
        return {"ended": "error", "error": _described(error)}
    if len(written) > request["value_bytes"]:
        said = f"It returned {len(written)} bytes of JSON, and at most {request['value_bytes']} go."
        return {"ended": "error", "error": said}
    return {"ended": "done", "value": value}


def _value(names: dict[str, Any], code: str) -> Any:
    """Run the code, and return the value of its last line where that is an expression."""
    tree = ast.parse(code, CODE)
    last = tree.body[-1] if tree.body else None
    if not isinstance(last, ast.Expr):
        exec(compile(tree, CODE, "exec"), names)
        return None
    exec(compile(ast.Module(tree.body[:-1], []), CODE, "exec"), names)
    return eval(compile(ast.Expression(last.value), CODE, "eval"), names)


def _described(error: BaseException) -> str:
    """Return an error with the line of the code that it came from."""
    line, trace = None, error.__traceback__
    try:
        said = str(error)
    except BaseException:  # whatever it does when it is asked
        said = ""
    if isinstance(error, SyntaxError) and error.filename == CODE:
        said, line = error.msg, error.lineno
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == CODE:
            line = trace.tb_lineno
        trace = trace.tb_next
    said = f"{type(error).__name__}: {said[:_MOST_ERROR]}".removesuffix(": ")
    return f"{said} (line {line})" if line else said


def _say(answer: int, outcome: Mapping[str, Any]) -> None:
    os.lseek(answer, 0, os.SEEK_SET)
    os.ftruncate(answer, 0)
    written = json.dumps(outcome, default=repr).encode()
    while written:
        written = written[os.write(answer, written) :]


if __name__ == "__main__":
    main()
