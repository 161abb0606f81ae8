"""A run that is killed, cut off or starved of disk ends, given the same command, with the bytes of an undisturbed one.

The toy run below is real: bf16 and fp32 parameters, AdamW, checkpoints with a limit, a history. Forking modes run in a
process of their own, started once: `python test_checkpoint_crash.py kill|limit|full FOLDER`.
"""

from __future__ import annotations

import errno
import hashlib
import itertools
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from rung.engine import fsio
from rung.engine.checkpoint import CheckpointStore, TrainState
from rung.engine.diskfaults import free_bytes
from rung.engine.optim import Optimizer, OptimizerConfig
from rung.engine.schedule import learning_rate
from rung.errors import StorageError

pytestmark = pytest.mark.crash

STEPS, SAVE_STEPS = 6, 2
acknowledged = 0
resumed_from = 0


def train(folder: Path, *, stop: int = STEPS, run_id: str = "toy", limit: int | None = 2, seed: int = 0) -> None:
    """The toy run: goes on from what it finds in `folder`."""
    global acknowledged, resumed_from
    init = torch.Generator().manual_seed(seed)
    named = {
        "low.weight": torch.nn.Parameter(torch.randn(6, 4, generator=init).bfloat16()),
        "high.weight": torch.nn.Parameter(torch.randn(2, 6, generator=init)),
        "high.bias": torch.nn.Parameter(torch.zeros(2)),
    }
    optimizer = Optimizer(named, OptimizerConfig(learning_rate=0.05, weight_decay=0.1))
    store = CheckpointStore(folder / "checkpoints", run_id, "hash", {"seed": seed}, save_total_limit=limit)
    state = store.latest()
    start, best = 0, None
    if state is not None:
        optimizer.load_master(state.weights)
        optimizer.load_state(state.optimizer)
        start, best = state.step, state.scalars["best"]
    resumed_from = acknowledged = start
    fsio.keep_lines(folder / "history.jsonl", start)
    for step in range(start, stop):
        data = torch.Generator().manual_seed(1000 + step)
        rows, answers = torch.randn(16, 4, generator=data), torch.randint(2, (16,), generator=data)
        hidden = torch.tanh(torch.nn.functional.linear(rows.bfloat16(), named["low.weight"])).float()
        logits = torch.nn.functional.linear(hidden, named["high.weight"], named["high.bias"])
        loss = torch.nn.functional.cross_entropy(logits, answers)
        loss.backward()
        norm = optimizer.clip(1.0)
        optimizer.step(0.05 * learning_rate(step, STEPS, 1, "linear"))
        optimizer.zero_grad()
        saves = (step + 1) % SAVE_STEPS == 0
        line = json.dumps({"step": step, "loss": loss.item(), "norm": norm})
        fsio.append_line(folder / "history.jsonl", line, durable=saves)
        if saves:
            better = best is None or loss.item() < best
            best = loss.item() if better else best
            store.save(
                TrainState(step + 1, step + 1, optimizer.master(), optimizer.state(), {"best": best}, better),
            )
            acknowledged = step + 1
    best_state = store.best()
    assert best_state is not None
    final = {**optimizer.master(), **optimizer.state()} | {f"best.{k}": v for k, v in best_state.weights.items()}
    fsio.write_safetensors(folder / "final.safetensors", final, {"best": str(best_state.step)})


def fingerprint(folder: Path) -> str:
    return fsio.sha256_file(folder / "final.safetensors") + fsio.sha256_file(folder / "history.jsonl")


class FailAt:
    """An observer that acts at the n-th step on the disk, or from it on."""

    def __init__(self, point: int, act: Callable[[], None], *, lasting: bool = False) -> None:
        self.left, self.act, self.lasting = point, act, lasting

    def __call__(self, event: str, path: Path) -> None:
        self.left -= 1
        if self.left == 0 or (self.lasting and self.left < 0):
            self.act()


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory where there is one: these tests sync ten thousand times, and no power is cut."""
    shared = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="rung-", dir=shared)) if os.access(shared, os.W_OK) else tmp_path
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def observe() -> Iterator[Callable[[Callable[[str, Path], None] | None], None]]:
    def set_observer(observer: Callable[[str, Path], None] | None) -> None:
        fsio.observer = observer

    yield set_observer
    fsio.observer = None


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("clean")
    train(folder)
    return fingerprint(folder)


# Kills: a fork per point.


def in_child(work: Callable[[], None]) -> int:
    """Run `work` in a fork; the wait status: 0 done, 9 killed, 3 << 8 refused by the disk."""
    child = os.fork()
    if child == 0:
        try:
            work()
        except StorageError:
            os._exit(3)
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    return os.waitpid(child, 0)[1]


def killed_at(folder: Path, point: int) -> None:
    fsio.observer = FailAt(point, lambda: os.kill(os.getpid(), signal.SIGKILL))
    train(folder)


def kill_everywhere(base: Path) -> dict[str, int]:
    # Run in the parent, so that what torch imports at its first step is imported before the forks.
    train(base / "clean")
    wanted, exact = fingerprint(base / "clean"), 0
    for point in itertools.count(1):
        folder = base / str(point)
        if in_child(lambda: killed_at(folder, point)) == 0:  # noqa: B023 (called at once)
            return {"points": point - 1, "exact": exact}
        if point % 4 == 0:
            # Killed again, in its recovery or soon after.
            in_child(lambda: killed_at(folder, 1 + point * 7 % 23))  # noqa: B023 (called at once)
        exact += in_child(lambda: train(folder)) == 0 and fingerprint(folder) == wanted  # noqa: B023 (called at once)
        shutil.rmtree(folder)
    raise AssertionError


def limit_everywhere(base: Path) -> dict[str, int]:
    """A file-size limit moved up until nothing hits it (one size is one torn write)."""

    def limited(folder: Path, size: int) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
        train(folder)

    # Run in the parent, so that what torch imports at its first step is imported before the forks.
    train(base / "clean")
    wanted, exact = fingerprint(base / "clean"), 0
    for refused, size in enumerate(itertools.count(16, 176)):
        folder = base / str(size)
        status = in_child(lambda: limited(folder, size))  # noqa: B023 (called at once)
        if status == 0:
            return {"points": refused, "exact": exact}
        assert status == 3 << 8, status
        exact += in_child(lambda: train(folder)) == 0 and fingerprint(folder) == wanted  # noqa: B023 (called at once)
        shutil.rmtree(folder)
    raise AssertionError


def fill_everywhere(base: Path) -> dict[str, int]:
    """A real small disk (`base` is a tmpfs) with ever more pages free, until the run fits."""
    train(base / "clean")
    wanted, exact = fingerprint(base / "clean"), 0
    shutil.rmtree(base / "clean")
    page = os.sysconf("SC_PAGE_SIZE")
    for pages in itertools.count(0):
        folder, filler = base / "run", base / "filler"
        with filler.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, free_bytes(base) - pages * page)
        try:
            train(folder)
        except StorageError as error:
            assert "no space is left on the disk" in str(error), error
            assert "Nothing saved earlier was touched" in str(error), error
        else:
            return {"points": pages, "exact": exact}
        filler.unlink()
        train(folder)
        exact += fingerprint(folder) == wanted
        shutil.rmtree(folder)
    raise AssertionError


def run_mode(mode: str, folder: Path, wrapper: tuple[str, ...] = ()) -> dict[str, int]:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [*wrapper, sys.executable, __file__, mode, str(folder)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stderr
    counts = json.loads(result.stdout)
    print(f"{mode}: {counts['exact']} of {counts['points']} points end with the bytes of an undisturbed run")
    return counts


def test_a_kill_at_every_step_on_the_disk_then_another_ends_exactly(memory: Path) -> None:
    counts = run_mode("kill", memory)
    assert counts["points"] > 100
    assert counts["exact"] == counts["points"]


def test_a_file_size_limit_at_every_size_is_named_and_recovered_from(memory: Path) -> None:
    counts = run_mode("limit", memory)
    assert counts["points"] > 5
    assert counts["exact"] == counts["points"]


def test_a_full_disk_at_every_page_is_named_and_recovered_from(tmp_path: Path) -> None:
    mount = f'mount -t tmpfs -o size=1m tmpfs "{tmp_path}" && exec "$@"'
    wrapper = ("unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mount, "sh")
    if (
        shutil.which("unshare") is None
        or subprocess.run([*wrapper, "true"], capture_output=True, check=False).returncode
    ):
        pytest.skip("NOT TESTED: a tmpfs in a user namespace is not permitted here")
    counts = run_mode("full", tmp_path, wrapper)
    assert counts["points"] > 5
    assert counts["exact"] == counts["points"]


@pytest.mark.parametrize("lasting", [False, True], ids=["once", "from then on"])
def test_no_space_at_every_step_on_the_disk_is_named_and_recovered_from(
    memory: Path, observe: Callable[..., None], clean: str, lasting: bool
) -> None:
    def refuse() -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    for point in itertools.count(1):
        folder = memory / str(point)
        observe(FailAt(point, refuse, lasting=lasting))
        try:
            train(folder)
        except StorageError as error:
            assert "no space is left on the disk" in str(error)
        else:
            break
        observe(None)
        train(folder)
        assert fingerprint(folder) == clean, point
        # A run that was already done at its last save writes no more, and so sweeps no more.
        assert resumed_from == STEPS or not list(folder.rglob(".stage-*")), point
        shutil.rmtree(folder)
    print(f"no space: {point - 1} of {point - 1} points exact after space was freed")
    assert point > 100


# Power cuts: what was not synced is lost.


class Disk:
    """What of `root` outlives a power cut: a folder's names as of its last sync, a file's bytes as of its own."""

    def __init__(self, root: Path, at_each: Callable[[Disk], None]) -> None:
        self.root, self.at_each = root, at_each
        self.names: dict[int, dict[str, int]] = {}
        self.bytes: dict[int, bytes] = {}
        # An open descriptor keeps an inode number from being given to another file.
        self.held: list[int] = []

    def __call__(self, event: str, path: Path) -> None:
        self.at_each(self)
        if event == "fsync":
            self.held.append(os.open(path, os.O_RDONLY))
            inode = path.stat().st_ino
            if path.is_dir():
                self.names[inode] = {entry.name: entry.stat().st_ino for entry in path.iterdir()}
            else:
                self.bytes[inode] = path.read_bytes()

    def images(self) -> Iterator[dict[str, bytes | None]]:
        """Path to bytes (None: a folder) of each state a power cut now may leave."""
        now = {path.stat().st_ino: path for path in self.root.rglob("*")}
        now_names = {
            folder.stat().st_ino: {entry.name: entry.stat().st_ino for entry in folder.iterdir()}
            for folder in (self.root, *now.values())
            if folder.is_dir()
        }
        whole = {inode: path.read_bytes() for inode, path in now.items() if path.is_file()}
        for names in (self.names, now_names):
            for share in (0.0, 0.5, 0.99, 1.0):
                torn = {i: self.bytes.get(i, b"") if share < 1 else data for i, data in whole.items()}
                torn |= {i: data[: int(share * len(data))] for i, data in whole.items() if i not in self.bytes}
                yield dict(self._walk(self.root.stat().st_ino, "", names, self.bytes | torn, set(now_names)))

    def _walk(
        self, inode: int, at: str, names: dict[int, dict[str, int]], data: dict[int, bytes], folders: set[int]
    ) -> Iterator[tuple[str, bytes | None]]:
        for name, child in sorted(names.get(inode, {}).items()):
            path = f"{at}/{name}" if at else name
            if child in folders or child in self.names:
                yield path, None
                yield from self._walk(child, path, names, data, folders)
            else:
                yield path, data.get(child, b"")


def test_every_legal_state_after_a_power_cut_recovers_to_the_last_acknowledged_save(
    memory: Path, observe: Callable[..., None], clean: str
) -> None:
    states: dict[str, tuple[int, dict[str, bytes | None]]] = {}

    def collect(disk: Disk) -> None:
        for image in disk.images():
            digest = hashlib.sha256(repr(sorted(image.items())).encode()).hexdigest()
            states[digest] = (max(acknowledged, states.get(digest, (0,))[0]), image)

    root = memory / "run"
    root.mkdir()
    disk = Disk(root, collect)
    observe(disk)
    train(root)
    observe(None)
    for descriptor in disk.held:
        os.close(descriptor)
    for number, (promised, image) in enumerate(states.values()):
        folder = memory / str(number)
        folder.mkdir()
        for path, data in image.items():
            (folder / path).mkdir() if data is None else (folder / path).write_bytes(data)
        train(folder)
        assert resumed_from >= promised, sorted(image)
        assert fingerprint(folder) == clean, sorted(image)
        shutil.rmtree(folder)
    print(f"power cuts: {len(states)} of {len(states)} states recover to the last acknowledged save, exactly")
    assert len(states) > 100


if __name__ == "__main__":
    torch.set_num_threads(1)
    modes = {"kill": kill_everywhere, "limit": limit_everywhere, "full": fill_everywhere}
    print(json.dumps(modes[sys.argv[1]](Path(sys.argv[2]))))
