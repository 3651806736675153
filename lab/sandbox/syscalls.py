"""
What code in the sandbox may ask of the kernel; all else fails with "operation not permitted".

There is no call in the list that makes a process, a thread or a socket, names another process,
changes what a file is or may be, or loads a program. Nor does one take a file's name away or make
one without: what is written stays where it is counted.
"""

import errno
import os
import termios
from fcntl import F_DUPFD, F_DUPFD_CLOEXEC, F_GETFD, F_GETFL, F_SETFD, F_SETFL
from functools import cache
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Final

from lab.errors import ServiceError

if TYPE_CHECKING:
    import pyseccomp

ALLOWED: Final = (
    # files, within what Landlock lets be opened
    *("read", "readv", "pread64", "preadv", "write", "writev", "pwrite64", "pwritev"),
    *("lseek", "close", "close_range", "dup", "dup2", "dup3", "pipe", "pipe2"),
    *("stat", "lstat", "fstat", "newfstatat", "statx", "access", "faccessat", "faccessat2"),
    *("getdents64", "getcwd", "ftruncate", "fsync", "fdatasync", "fadvise64", "umask"),
    *("poll", "ppoll", "select", "pselect6"),
    # memory
    *("brk", "mmap", "munmap", "mremap", "mprotect", "madvise"),
    # time
    *("time", "gettimeofday", "clock_gettime", "clock_getres", "clock_nanosleep", "nanosleep"),
    *("times", "getrusage", "alarm", "getitimer", "setitimer", "pause", "restart_syscall"),
    # signals to itself, and locks between its own threads, of which there is one
    *("rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "rt_sigpending", "sigaltstack"),
    *("futex", "set_robust_list", "rseq", "sched_yield", "sched_getaffinity", "getcpu"),
    # what it is
    *("getpid", "getppid", "gettid", "getuid", "geteuid", "getgid", "getegid", "getgroups"),
    *("getresuid", "getresgid", "getrlimit", "getrandom", "uname", "sysinfo"),
    *("exit", "exit_group"),
)

_FLAGS_AT: Final = {"open": 1, "openat": 2}
"""Which argument holds the flags."""
_NAMELESS: Final = os.O_TMPFILE & ~os.O_DIRECTORY
"""The flag of files without a name."""
_CONTROLS: Final = (F_DUPFD, F_DUPFD_CLOEXEC, F_GETFD, F_SETFD, F_GETFL, F_SETFL)
_FIOCLEX, _FIONCLEX = 0x5451, 0x5450
_REQUESTS: Final = (termios.TCGETS, termios.FIONREAD, _FIOCLEX, _FIONCLEX)


@cache
def program() -> bytes:
    """
    Return the filter as the kernel takes it, an array of `struct sock_filter`.

    Raises
    ------
    ServiceError
        If libseccomp, which writes it, is not on this machine.
    """
    try:
        import pyseccomp  # noqa: PLC0415 - looks for libseccomp, which may be missing
    except (RuntimeError, OSError) as error:
        raise ServiceError(
            f"Code cannot be run safely here: {error}. Install libseccomp "
            "(`apt install libseccomp2`)."
        ) from error
    made = pyseccomp.SyscallFilter(pyseccomp.ERRNO(errno.EPERM))
    made.set_attr(pyseccomp.Attr.ACT_BADARCH, pyseccomp.KILL_PROCESS)
    for name in ALLOWED:
        _allow(made, name)
    for name, place in _FLAGS_AT.items():
        # Before Linux 6.2 Landlock does not know truncation, so that needs leave to write.
        for kept in (0, os.O_TRUNC | os.O_WRONLY, os.O_TRUNC | os.O_RDWR):
            mask = _NAMELESS | os.O_TRUNC | (os.O_ACCMODE if kept else 0)
            _allow(made, name, pyseccomp.Arg(place, pyseccomp.MASKED_EQ, mask, kept))
    for place, name, values in ((1, "fcntl", _CONTROLS), (1, "ioctl", _REQUESTS)):
        for value in values:
            _allow(made, name, pyseccomp.Arg(place, pyseccomp.EQ, value))
    _allow(made, "prlimit64", pyseccomp.Arg(0, pyseccomp.EQ, 0))  # its own, and only lower
    with TemporaryFile() as file:
        made.export_bpf(file)
        file.seek(0)
        return file.read()


def _allow(made: "pyseccomp.SyscallFilter", name: str, *arguments: "pyseccomp.Arg") -> None:
    import pyseccomp  # noqa: PLC0415

    number = pyseccomp.resolve_syscall(pyseccomp.Arch.NATIVE, name)
    if number >= 0:  # the others are of another architecture
        made.add_rule(pyseccomp.ALLOW, number, *arguments)
