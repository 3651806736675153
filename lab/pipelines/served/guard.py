"""
Run a command that ends when we do: `guard.py SECONDS COMMAND...`, with a pipe as standard input.

When the pipe closes, be it that whoever holds it was killed, the command and all that it started
are told to end, and killed after so many seconds. Needs a process group of its own. Run as a file,
so that it imports nothing of the lab.
"""

import os
import signal
import subprocess
import sys
import threading
import time


def main(stop_timeout_s: float, command: list[str]) -> int:
    """Run a command to its end, or to that of standard input; return its exit code."""
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # which we send to the whole group

    closed = threading.Event()

    def end_with_input() -> None:
        while os.read(0, 1024):
            pass
        closed.set()
        os.killpg(0, signal.SIGTERM)
        time.sleep(stop_timeout_s)
        process.kill()

    threading.Thread(target=end_with_input, daemon=True).start()
    code = process.wait()
    if closed.is_set():
        os.killpg(0, signal.SIGKILL)  # what it left, and ourselves
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), sys.argv[2:]))
