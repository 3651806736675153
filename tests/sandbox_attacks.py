"""
Code that tries to break out of the sandbox, each with how it must end.

`python -m tests.sandbox_attacks` runs all of it as the account that it is started as, and prints
what came of it as JSON: so that a lab that is root can be compared with one that is not.
"""

import asyncio
import json
import os
import platform
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from lab.sandbox import PythonSandbox
from lab.schemas.sandbox_config import SandboxConfig

SECRET = "the-secret-of-the-lab"
LIMITS = SandboxConfig(seconds=20, memory_mib=128, scratch_mib=1, output_kib=4, at_once=4)
SHORT = LIMITS.model_copy(update={"seconds": 0.7})

DENIED = {
    "tcp": "import socket; socket.create_connection(('127.0.0.1', at['port']))",
    "udp": "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM)",
    "unix socket": "import socket; socket.socket(socket.AF_UNIX).connect(at['socket'])",
    "socket pair": "import socket; socket.socketpair()",
    "fork": "import os; os.fork()",
    "fork bomb": "import os\nwhile True: os.fork()",
    "daemon": "import os\nif os.fork() == 0:\n    os.setsid()\n    os.fork()",
    "subprocess": "import subprocess; subprocess.run(['/bin/true'])",
    "exec": "import os; os.execv('/bin/sh', ['sh', '-c', 'true'])",
    "set-uid program": "import os; os.execv('/bin/su', ['su'])",
    "spawn": "import os; os.posix_spawn('/bin/true', ['true'], {})",
    "kill the lab": "import os; os.kill(at['lab'], 9)",
    "kill all": "import os; os.kill(-1, 9)",
    "kill the group": "import os; os.killpg(os.getpgid(0), 9)",
    "signal by descriptor": "import os; os.pidfd_open(at['lab'])",
    "signal by owner of a file": "import fcntl; fcntl.fcntl(1, fcntl.F_SETOWN, at['lab'])",
    "priority of the lab": "import os; os.setpriority(os.PRIO_PROCESS, at['lab'], 19)",
    "limits of the lab": (
        "import resource; resource.prlimit(at['lab'], resource.RLIMIT_CPU, (1, 1))"
    ),
    "read": "open(at['secret']).read()",
    "read by ..": "open('../' * 20 + at['secret']).read()",
    "list": "import os; os.listdir(at['folder'])",
    "symlink": "import os; os.symlink(at['secret'], 'link'); open('link').read()",
    "hard link": "import os; os.link(at['secret'], 'link'); open('link').read()",
    "move in": "import os; os.rename(at['secret'], 'mine'); open('mine').read()",
    "move out": "import os; open('f', 'w').close(); os.rename('f', at['folder'] + '/f')",
    "write": "open(at['secret'], 'w')",
    "append": "open(at['secret'], 'a')",
    "create": "open(at['folder'] + '/new', 'w')",
    "delete": "import os; os.unlink(at['secret'])",
    "truncate": "import os; os.truncate(at['secret'], 0)",
    "truncate by reading": "import os; os.open(at['secret'], os.O_RDONLY | os.O_TRUNC)",
    "mode": "import os; os.chmod(at['secret'], 0o777)",
    "owner": "import os; os.chown(at['secret'], 0, 0)",
    "times": "import os; os.utime(at['secret'])",
    "hide what was written": (
        "import os\nf = open('f', 'wb'); f.write(bytes(10**5)); f.flush(); os.unlink('f')"
    ),
    "hide it by folder": (
        "import os\nf = open('f', 'wb'); os.unlink('f', dir_fd=os.open('.', os.O_RDONLY))"
    ),
    "hide it under another": (
        "import os\nf = open('f', 'wb'); open('g', 'w').close(); os.replace('g', 'f')"
    ),
    "write without a name": "import os; os.open('.', os.O_TMPFILE | os.O_RDWR)",
    "write without a name, cut": "import os; os.open('.', os.O_TMPFILE | os.O_TRUNC | os.O_RDWR)",
    "folder": "import os; os.mkdir('deep')",
    "pipe with a name": "import os; os.mkfifo('pipe')",
    "own environment": "open('/proc/self/environ').read()",
    "another's environment": "open(f'/proc/{at[\"victim\"]}/environ').read()",
    "another's memory": "open(f'/proc/{at[\"victim\"]}/mem', 'rb')",
    "root of the first process": "open('/proc/1/root/etc/passwd').read()",
    "own descriptors": "import os; os.listdir('/proc/self/fd')",
    "device": "open('/dev/zero', 'rb')",
    "passwords": "open('/etc/shadow').read()",
    "code of the lab": "open(at['child'], 'a')",
    "library": "import os; open(os.__file__, 'a')",
    "library in memory": "import mmap; mmap.mmap(at['fd'], 10)",
    "change root": "import os; os.chroot('.')",
    "account": "import os; os.setuid(0)",
    "pipe of the lab": "import os; os.read(at['fd'], 100)",
}
"""Each ends with an `OSError`."""

EVERYWHERE = """
import os
def write(fd, text):
    try: os.write(fd, text)
    except OSError: pass
for fd in range(3, 64): write(fd, """
REFUSED = b'{"refused": "The sandbox is broken."}'
ENDS = {
    "endless": ("while True: pass", "time"),
    "stubborn": (
        "while True:\n    try:\n        while True: pass\n    except BaseException: pass",
        "time",
    ),
    "asleep": ("import time; time.sleep(60)", "time"),
    "memory": ("x = bytearray(10**10)", "memory"),
    "more and more": ("x = []\nwhile True: x.append(bytearray(10**6))", "memory"),
    "limits": (
        "import resource as r; r.setrlimit(r.RLIMIT_AS, (r.RLIM_INFINITY, r.RLIM_INFINITY))",
        "error",
    ),
    "thread": ("import threading; threading.Thread(target=print).start()", "error"),
    "recursion": ("def f(): f()\nf()", "error"),
    "deep recursion": (
        "import sys; sys.setrecursionlimit(10**6)\n"
        "class A:\n    def __repr__(self): return repr(self)\nA()",
        "killed",
    ),
    "output": ("while True: print('x' * 10000)", "error"),
    "complaints": ("import sys\nwhile True: sys.stderr.write('x' * 10000)", "error"),
    "large file": ("open('f', 'wb').write(bytes(10**7))", "error"),
    "files": ("for i in range(10**7): open(f'f{i}', 'wb').write(bytes(4000))", "room"),
    "empty files": ("for i in range(10**7): open(f'f{i}', 'w').close()", "room"),
    "descriptors": ("import os\nwhile True: os.pipe()", "error"),
    "large result": ("'x' * 10**6", "error"),
    "no number": ("float('nan')", "error"),
    "half a character": ("'\\ud800'", "done"),
    "deep result": ("x = []\nfor _ in range(10**5): x = [x]\nx", "error"),
    "no answer": (f"{EVERYWHERE}b'[' * 10**5)\nos._exit(0)", "killed"),
    "a wrong answer": (f"{EVERYWHERE}b'{{\"ended\": 1}}')\nos._exit(0)", "killed"),
    "a refusal": (f"{EVERYWHERE}{REFUSED!r})\nos._exit(0)", "error"),
    "leave": ("import os; os._exit(0)", "killed"),
    "exit": ("raise SystemExit(3)", "error"),
    "abort": ("import os; os.abort()", "killed"),
    "crash": ("import ctypes; ctypes.string_at(0)", "killed"),
    "error without words": (
        "class E(Exception):\n    def __str__(self): raise self\nraise E",
        "error",
    ),
}
"""Code with the reason why it ends."""

SYSCALLS = """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
NUMBERS = {
    "socket": (41, 2, 1, 0), "socketpair": (53, 1, 2, 0, 0), "fork": (57,), "vfork": (58,),
    "clone": (56, 17, 0, 0, 0, 0), "clone3": (435, 0, 0), "execve": (59, 0, 0, 0),
    "execveat": (322, 0, 0, 0, 0, 0), "ptrace": (101, 16, at["victim"], 0, 0),
    "process_vm_readv": (310, at["victim"], 0, 0, 0, 0, 0), "kill": (62, at["lab"], 0),
    "tgkill": (234, at["lab"], at["lab"], 0), "tkill": (200, at["lab"], 0),
    "rt_sigqueueinfo": (129, at["lab"], 0, 0), "pidfd_open": (434, at["lab"], 0),
    "unshare": (272, 0x10000000), "setns": (308, 0, 0), "mount": (165, 0, 0, 0, 0, 0),
    "open_tree": (428, -100, 0, 0), "pivot_root": (155, 0, 0), "bpf": (321, 0, 0, 0),
    "keyctl": (250, 0, 0, 0), "add_key": (248, 0, 0, 0, 0, 0), "io_uring_setup": (425, 1, 0),
    "memfd_create": (319, 0, 0), "userfaultfd": (323, 0), "perf_event_open": (298, 0, 0, 0, 0, 0),
    "openat2": (437, -100, 0, 0, 24), "name_to_handle_at": (303, -100, 0, 0, 0, 0),
    "shmget": (29, 0, 4096, 0o1777), "msgget": (68, 0, 0o1777), "mq_open": (240, 0, 0, 0, 0),
    "prctl": (157, 4, 1, 0, 0, 0), "seccomp": (317, 0, 0, 0), "personality": (135, 0),
    "setpriority": (141, 0, 0, 19), "sched_setaffinity": (203, 0, 8, 0), "setsid": (112,),
    "unlink": (87, 0), "unlinkat": (263, -100, 0, 0), "rename": (82, 0, 0),
    "renameat": (264, -100, 0, -100, 0), "renameat2": (316, -100, 0, -100, 0, 0),
    "tiocsti": (16, 1, 0x5412, 0), "setxattr": (188, 0, 0, 0, 0, 0), "inotify_init": (253,),
    "fanotify_init": (300, 0, 0), "acct": (163, 0), "reboot": (169, 0, 0, 0, 0), "sync": (162,),
    "modify_ldt": (154, 0, 0, 0), "kcmp": (312, at["lab"], at["lab"], 0, 0, 0),
}
found = []
for name, arguments in NUMBERS.items():
    ctypes.set_errno(0)
    done = libc.syscall(*(ctypes.c_long(a) for a in arguments))
    if done != -1 or ctypes.get_errno() != 1:
        found.append([name, done, ctypes.get_errno()])
found
"""
"""System calls by their numbers; its value names those that were not refused."""
if platform.machine() != "x86_64":  # whose numbers these are
    SYSCALLS = "[]"

LOOKS = """
import ctypes, gc, os, sys
found = [dict(os.environ), sys.argv, sys.executable, repr(sys.modules), sys.path]
libc = ctypes.CDLL(None)
libc.getenv.restype = ctypes.c_char_p
found.append(repr(libc.getenv(b"LAB_SECRET")))
frame = sys._getframe()
while frame:
    found.append(repr(frame.f_locals))
    frame = frame.f_back
found.append([repr(one) for one in gc.get_objects() if isinstance(one, (str, bytes, dict))])
for fd in range(256):
    try:
        found.append(repr(os.pread(fd, 1000, 0)))
    except OSError:
        pass
{"open": [fd for fd in range(256) if os.path.exists(f"/proc/self/fd/{fd}")],
 "found": "TERCES"[::-1] in repr(found), "account": os.getresuid()}
"""
"""Looks for the secret wherever code can look from inside."""
LOOKS = LOOKS.replace("TERCES", SECRET[::-1])


@asynccontextmanager
async def targets() -> AsyncIterator[dict[str, Any]]:
    """Yield what there is to attack: files that anybody may read, servers, processes."""
    with TemporaryDirectory(prefix="target-") as folder, socket.socket() as server:
        place = Path(folder)
        place.chmod(0o777)
        secret = place / "secret.txt"
        secret.write_text(SECRET)
        secret.chmod(0o666)
        server.bind(("127.0.0.1", 0))
        server.listen()
        unix = await asyncio.start_unix_server(lambda r, w: w.close(), place / "socket")
        os.chmod(place / "socket", 0o777)
        os.environ["LAB_SECRET"] = SECRET
        victim = subprocess.Popen(["sleep", "600"], env={"SECRET": SECRET})
        descriptor = os.open(secret, os.O_RDWR)
        os.set_inheritable(descriptor, True)
        try:
            yield {
                "port": server.getsockname()[1],
                "socket": str(place / "socket"),
                "secret": str(secret),
                "folder": folder,
                "lab": os.getpid(),
                "victim": victim.pid,
                "fd": descriptor,
                "child": str(
                    Path(sys.modules["lab.sandbox.python"].__file__ or "").parent / "child.py"
                ),
            }
            assert victim.poll() is None
            assert secret.read_text() == SECRET
            assert sorted(path.name for path in place.iterdir()) == ["secret.txt", "socket"]
        finally:
            os.close(descriptor)
            victim.kill()
            victim.wait()
            del os.environ["LAB_SECRET"]
            unix.close()


async def attack() -> dict[str, dict[str, Any]]:
    """Return what came of each attack."""
    sandbox = PythonSandbox(LIMITS)
    codes = {**DENIED, **{name: code for name, (code, _) in ENDS.items()}}
    codes |= {"syscalls": SYSCALLS, "looks": LOOKS}
    late = {name for name, (_, end) in ENDS.items() if end == "time"}
    async with targets() as at:

        async def run(name: str, code: str) -> dict[str, Any]:
            limits = SHORT if name in late else None
            result = await sandbox.run_python(f"at = {at!r}\n{code}", limits=limits)
            return result.model_dump(mode="json")

        results = await asyncio.gather(*(run(*one) for one in codes.items()))
    return dict(zip(codes, results, strict=True))


def main() -> None:
    """Print what came of each attack."""
    print(json.dumps(asyncio.run(attack())))  # noqa: T201


if __name__ == "__main__":
    main()
