"""
A hub of models on loopback that speaks the few routes of Hugging Face's that the lab asks.

Models are folders of this machine. A connection can be made to break, and a model to be gated.
"""

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

BLOCK = 1 << 14
LARGE = ".safetensors"
"""Ends the names of files that are stored as large ones, by their SHA-256."""


@dataclass
class ModelHub:
    """
    What the hub has and did.

    Attributes
    ----------
    models : dict
        Folder of each model, by id.
    gated : dict
        Token that opens a gated model, by id.
    breaks_after : list of int
        Bytes of a large file after which its connection breaks, one for each answer.
    claimed_bytes : dict
        Size that the hub says a large file has, by its name; by default its own.
    sent : list
        Path and range of each answer with a large file.
    """

    url: str = ""
    models: dict[str, Path] = field(default_factory=dict)
    gated: dict[str, str] = field(default_factory=dict)
    breaks_after: list[int] = field(default_factory=list)
    claimed_bytes: dict[str, int] = field(default_factory=dict)
    damaged: bool = False
    sent: list[tuple[str, str | None]] = field(default_factory=list)

    def commit(self, model: str) -> str:
        """Return the commit of a model, which changes with its files."""
        digest = hashlib.sha1(usedforsecurity=False)
        for file in self.files(model):
            digest.update(file.read_bytes())
        return digest.hexdigest()

    def files(self, model: str) -> list[Path]:
        return sorted(file for file in self.models[model].rglob("*") if file.is_file())

    def listed(self, model: str) -> list[dict[str, Any]]:
        """Return the files of a model as the hub describes them."""
        found = []
        for file in self.files(model):
            content = file.read_bytes()
            name = str(file.relative_to(self.models[model]))
            size = self.claimed_bytes.get(name, len(content))
            one: dict[str, Any] = {"path": name, "size": size, "oid": sha1(content)}
            if name.endswith(LARGE):
                digest = hashlib.sha256(content).hexdigest()
                one["lfs"] = {"oid": digest, "sha256": digest, "size": size, "pointerSize": 130}
            found.append(one)
        return found


def sha1(content: bytes) -> str:
    return hashlib.sha1(content, usedforsecurity=False).hexdigest()


@contextmanager
def model_hub() -> Iterator[ModelHub]:
    """Yield a hub that answers until the block ends."""
    hub = ModelHub()

    class Handler(HubHandler):
        of = hub

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        hub.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield hub
        server.shutdown()
        thread.join()


class HubHandler(BaseHTTPRequestHandler):
    """Answers one request."""

    of: ModelHub
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        if found := re.fullmatch(r"/api/models/(\w+/[\w.-]+)(?:/(revision|tree)/([^/]+))?", path):
            self._describe(*found.groups())
        elif found := re.fullmatch(r"/(\w+/[\w.-]+)/resolve/([^/]+)/(.+)", path):
            self._file(*found.groups())
        else:
            self._refuse(404, "EntryNotFound")

    do_HEAD = do_GET

    def log_message(self, *_: object) -> None:
        pass

    def _allowed(self, model: str, revision: str | None) -> bool:
        if model not in self.of.models:
            self._refuse(401 if "private" in model else 404, "RepoNotFound")
        elif revision not in (None, "main", self.of.commit(model)):
            self._refuse(404, "RevisionNotFound")
        elif (token := self.of.gated.get(model)) and (
            self.headers.get("Authorization") != f"Bearer {token}"
        ):
            self._refuse(403 if self.headers.get("Authorization") else 401, "GatedRepo")
        else:
            return True
        return False

    def _describe(self, model: str, what: str | None, revision: str | None) -> None:
        if not self._allowed(model, revision):
            return
        files = self.of.listed(model)
        if what == "tree":
            return self._json([{"type": "file", **one} for one in files])
        siblings = [
            {"rfilename": one["path"], "size": one["size"], "blobId": one["oid"]}
            | ({"lfs": one["lfs"]} if "lfs" in one else {})
            for one in files
        ]
        self._json({"id": model, "sha": self.of.commit(model), "siblings": siblings, "tags": []})

    def _file(self, model: str, revision: str, name: str) -> None:
        if not self._allowed(model, revision):
            return
        file = self.of.models[model] / name
        if not file.is_file():
            return self._refuse(404, "EntryNotFound")
        content = file.read_bytes()
        is_large = name.endswith(LARGE)
        etag = hashlib.sha256(content).hexdigest() if is_large else sha1(content)
        if is_large and self.of.damaged:
            content = bytes(len(content))
        start = self._start()
        self.send_response(206 if start else 200)
        self.send_header("ETag", f'"{etag}"')
        self.send_header("X-Repo-Commit", self.of.commit(model))
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(content) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        if self.command == "HEAD":
            return
        if is_large:
            self.of.sent.append((name, self.headers.get("Range")))
        self._write(content[start:], breaks=is_large)

    def _start(self) -> int:
        found = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        return int(found[1]) if found else 0

    def _write(self, content: bytes, *, breaks: bool) -> None:
        most = self.of.breaks_after.pop(0) if breaks and self.of.breaks_after else len(content)
        for i in range(0, min(most, len(content)), BLOCK):
            self.wfile.write(content[i : min(i + BLOCK, most)])
        self.close_connection = most < len(content)

    def _json(self, value: object) -> None:
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _refuse(self, status: int, code: str) -> None:
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("X-Error-Message", code)
        self.send_header("Content-Length", "0")
        self.end_headers()
