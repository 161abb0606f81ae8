"""The report in a real browser: it lays out on wide and narrow screens, runs nothing and fetches nothing."""

from __future__ import annotations

import importlib.util
import os
import shutil
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from rung.ladder.report import write_report
from rung.ladder.store import read_ladder

pytestmark = pytest.mark.browser

NAMES = ("chromium", "chromium-browser", "google-chrome")
SWITCHES = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
)


class Trap(HTTPServer):
    """Remembers which paths it was asked for."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.asked: list[str] = []


@pytest.fixture(scope="module")
def browser() -> str:
    named = os.environ.get("RUNG_BROWSER")
    found = shutil.which(named) if named else next(filter(None, map(shutil.which, NAMES)), None)
    if found:
        return found
    missing = f"no browser: RUNG_BROWSER={named!r}, and none of {', '.join(NAMES)} is on PATH (make browser)"
    if os.environ.get("CI") == "true":
        pytest.fail(missing)
    pytest.skip(missing)


@pytest.fixture(scope="module")
def made() -> ModuleType:
    path = Path(__file__).parents[1] / "ladder" / "ladder_folder.py"
    spec = importlib.util.spec_from_file_location("ladder_folder", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def trap() -> Iterator[Trap]:
    """A server on loopback that remembers which paths it was asked for."""

    class Remember(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            server.asked.append(self.path)
            self.send_error(404)

        def log_message(self, format: str, *args: object) -> None:
            """Nothing: the test's own output stays readable."""

    with Trap(("127.0.0.1", 0), Remember) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def page(made: ModuleType, trap: Trap, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report in which one rung's name tries to run a script and to fetch a picture."""
    bait = f"<img src=http://127.0.0.1:{trap.server_port}/report onerror=document.title='owned'>"
    name = f"lora <script>document.title='owned'</script>{bait}"
    rungs = (*made.RUNGS[:-1], replace(made.RUNGS[-1], name=name))
    folder = tmp_path_factory.mktemp("ladder")
    made.LadderFolder(rungs=rungs, learning_curve=made.growth("minilm-l6 full", 0.96)).write(folder)
    write_report(read_ladder(folder), folder)
    return folder / "report.html"


def visit(browser: str, page: Path, profile: Path, *switches: str) -> str:
    """Open the page in a profile of its own; gives what was printed."""
    command = [browser, *SWITCHES, f"--user-data-dir={profile}", *switches, page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout


class Body(HTMLParser):
    """Rows of the main table, and everything that could run or be fetched."""

    def __init__(self, dom: str) -> None:
        super().__init__()
        self.rows = 0
        self.active: list[str] = []
        self.title = ""
        self._main = self._titled = False
        self.feed(dom)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "table":
            self._main = given.get("class") == "main"
        self._titled = tag == "title" and not self.title
        self.rows += self._main and tag == "tr"
        if tag in {"script", "img", "link", "iframe"} or any(name.startswith("on") for name in given):
            self.active.append(tag)

    def handle_data(self, data: str) -> None:
        if self._titled:
            self.title, self._titled = data, False


def test_the_browser_builds_the_table_and_runs_nothing(
    browser: str, page: Path, made: ModuleType, tmp_path: Path
) -> None:
    body = Body(visit(browser, page, tmp_path, "--dump-dom"))
    assert body.rows == 1 + len(made.RUNGS)
    assert body.title == "minilm-l6 full · Rung report"
    assert body.active == []


def test_the_page_asks_the_network_for_nothing(browser: str, page: Path, trap: Trap, tmp_path: Path) -> None:
    control = tmp_path / "control.html"
    control.write_text(f"<img src=http://127.0.0.1:{trap.server_port}/control>")
    visit(browser, control, tmp_path / "first", "--dump-dom")
    visit(browser, page, tmp_path / "second", "--dump-dom")
    assert trap.asked == ["/control"]  # so the trap works, and the report did not step into it


@pytest.mark.parametrize("width", [1200, 500])
def test_it_can_be_drawn(browser: str, page: Path, tmp_path: Path, width: int) -> None:
    shot = tmp_path / "shot.png"
    visit(browser, page, tmp_path / "profile", f"--window-size={width},2400", f"--screenshot={shot}")
    data = shot.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", data[16:24]) == (width, 2400)
    assert len(data) > 100_000  # a blank page of this size is a few kilobytes
