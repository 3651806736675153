"""Code of the lab's own that tries the doors of the sandbox from inside."""

from typing import Final

DOORS: Final = {
    "account": "be root",
    "environment": "see variables of the lab",
    "processes": "see other processes",
    "files": "read files of the system",
    "write": "write outside of its folder",
    "socket": "open a connection",
    "fork": "start a process",
    "thread": "start a thread",
    "signal": "signal other processes",
    "kernel": "ask the kernel for what is not allowed",
}
"""What an open door means."""

PROBE: Final = """
import _thread, ctypes, os, socket

def forked():
    if os.fork() == 0:
        os._exit(0)

def traced():
    ptrace = ctypes.CDLL(None, use_errno=True).ptrace
    if ptrace(0, 0, None, None) != 0:
        raise PermissionError

def is_root():
    if 0 not in os.getresuid():
        raise PermissionError

def has_variables():
    if not {*os.environ} - {"LC_CTYPE"}:
        raise PermissionError

ATTEMPTS = {
    "account": is_root,
    "environment": has_variables,
    "processes": lambda: open("/proc/self/environ").close(),
    "files": lambda: open("/etc/passwd").close(),
    "write": lambda: open("../lab-sandbox-probe", "w").close(),
    "socket": lambda: socket.socket().close(),
    "fork": forked,
    "thread": lambda: _thread.start_new_thread(int, ()),
    "signal": lambda: os.kill(os.getppid(), 0),
    "kernel": traced,
}

def open_doors():
    found = []
    for name, attempt in ATTEMPTS.items():
        try:
            attempt()
        except (OSError, RuntimeError):
            continue
        found.append(name)
    return found
"""
