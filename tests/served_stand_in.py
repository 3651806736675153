"""
Stands where `vllm serve` or `llama-server` would: a small server that takes the same arguments.

    served_stand_in.py MODEL --host H --port P --served-model-name NAME [...]
    served_stand_in.py --model FILE --host H --port P --alias NAME [...]

Answers repeat the arguments. Its own arguments: `--fails` ends it at once, `--late SECONDS` has it
answer late, `--stubborn` has it overlook SIGTERM and start another process that does too.
A message `crash` ends it in the middle of the answer; `hang` has it answer no more.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = os.environ.get("VLLM_API_KEY") or os.environ.get("LLAMA_API_KEY")


class Handler(BaseHTTPRequestHandler):
    options: argparse.Namespace
    hangs = False

    def do_GET(self) -> None:
        if self.hangs:
            time.sleep(3600)
        if self.path == "/health":
            self._send({})
        elif self._is_let_in():
            card = {"id": self.options.served_model_name, "max_model_len": 512}
            self._send({"data": [card]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not self._is_let_in():
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        asked = body["messages"][-1]["content"]
        told = {"argv": sys.argv[1:], "environ": sorted(os.environ), "pid": os.getpid()}
        self._event({"choices": [{"delta": {"content": json.dumps(told)}}]})
        if asked == "crash":
            os._exit(3)
        Handler.hangs = asked == "hang"
        self._event({"choices": [{"delta": {}, "finish_reason": "stop"}]})
        self._event({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 1}})

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing of requests."""

    def _is_let_in(self) -> bool:
        let_in = self.headers["Authorization"] == f"Bearer {KEY}"
        if not let_in:
            self.send_error(401)
        return let_in

    def _send(self, data: object) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(data).encode())

    def _event(self, data: object) -> None:
        self.wfile.write(f"data: {json.dumps(data)}\n\n".encode())
        self.wfile.flush()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("of_vllm", nargs="?")
    parser.add_argument("--port", type=int)
    parser.add_argument("--served-model-name", "--alias")
    parser.add_argument("--fails", action="store_true")
    parser.add_argument("--late", type=float, default=0)
    parser.add_argument("--stubborn", action="store_true")
    Handler.options, _ = parser.parse_known_args()
    if Handler.options.fails:
        sys.exit("CUDA error: no kernel image is available")
    if Handler.options.stubborn:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # which children inherit
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"])
    time.sleep(Handler.options.late)
    ThreadingHTTPServer(("127.0.0.1", Handler.options.port), Handler).serve_forever()


if __name__ == "__main__":
    main()
