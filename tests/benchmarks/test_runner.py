from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from benchmarks.runner import ROOT, Runner, _modules, fastest
from benchmarks.spec import Peer, Spec

TINY = Spec("tiny", "machine:gemm_peak", {"size": 32, "warm": 0.0, "timed": 0.01})


def step(name: str, excluded: str = "") -> Spec:
    return Spec(name, "machine:gemm_peak", excluded=excluded)


def test_a_measurement_is_a_process_of_its_own_and_is_not_made_twice(tmp_path: Path) -> None:
    made = Runner(tmp_path).measure(TINY)
    assert made["status"] == "ok"
    assert made["peak_flops"]["bfloat16"] > 0
    assert made["process_peak_bytes"] == made["peak_bytes"] > 0
    assert {"torch", "transformers"} <= set(made["versions"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tiny.json", "tiny.log"]
    stored = (tmp_path / "tiny.json").read_text()
    again = Runner(tmp_path).measure(replace(TINY, note="other words", timeout=7))
    assert again == made
    assert (tmp_path / "tiny.json").read_text() == stored


def test_other_arguments_or_another_rung_are_another_measurement(tmp_path: Path) -> None:
    runner = Runner(tmp_path)
    keys = {
        runner._key(TINY, False),
        runner._key(TINY, True),
        runner._key(TINY.called("other"), False),
        runner._key(TINY.called("tiny", size=64), False),
        runner._key(replace(TINY, env={"OMP_PROC_BIND": "close"}), False),
    }
    assert len(keys) == 5


def test_a_failure_is_a_result_and_is_made_again_only_when_asked(tmp_path: Path) -> None:
    broken = Spec("broken", "machine:gemm_peak", {"size": 32})
    failed = Runner(tmp_path).measure(broken)
    assert (failed["status"], failed["error"]) == ("failed", "KeyError: 'warm'")
    assert Runner(tmp_path).measure(broken)["date"] == failed["date"]
    stored = json.loads((tmp_path / "broken.json").read_text())
    (tmp_path / "broken.json").write_text(json.dumps({**stored, "date": "then"}))
    assert Runner(tmp_path).measure(broken)["date"] == "then"
    assert Runner(tmp_path, retry=True).measure(broken)["date"] != "then"


def test_what_takes_too_long_is_ended_and_recorded(tmp_path: Path) -> None:
    endless = replace(TINY.called("endless", timed=600.0), timeout=1)
    assert Runner(tmp_path).measure(endless)["error"] == "not done within 1 s"


def test_without_measuring_nothing_is_run(tmp_path: Path) -> None:
    assert Runner(tmp_path / "none", measures=False).measure(TINY)["status"] == "missing"
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(("excluded", "best"), [("", "fast"), ("another dtype class", "slow")])
def test_the_best_is_the_fastest_that_ended_and_is_not_excluded(excluded: str, best: str) -> None:
    ladder = (step("slow"), step("fast", excluded), step("broken"))
    results = [{"status": "ok", "rows": rows, "seconds": 2.0} for rows in (4, 8)] + [{"status": "timeout"}]
    chosen = fastest(Peer("peer", ladder), results)
    assert chosen is not None
    assert chosen.name == best


def test_no_step_ended_well() -> None:
    assert fastest(Peer("peer", (step("broken"),)), [{"status": "failed"}]) is None


def test_ending_a_bench_ends_its_measurement(tmp_path: Path) -> None:
    endless = json.dumps({"name": "endless", "run": TINY.run, "args": {**TINY.args, "timed": 600.0}})
    code = (
        "import json, signal, sys\n"
        "from pathlib import Path\n"
        "from benchmarks.runner import Runner\n"
        "from benchmarks.spec import Spec\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))\n"
        f"Runner(Path({str(tmp_path)!r})).measure(Spec(**json.loads({endless!r})))\n"
    )
    bench = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)

    def measurements() -> bytes:
        return subprocess.run(["pgrep", "-f", f"nursery machine {tmp_path}"], capture_output=True).stdout

    while not measurements():
        time.sleep(0.05)
    time.sleep(0.5)  # until the bench, too, knows that it has begun
    bench.terminate()
    assert bench.wait(timeout=60) == 143
    assert not (tmp_path / "endless.json").exists()
    assert measurements() == b""


def test_a_fork_and_a_process_of_its_own_measure_alike(tmp_path: Path) -> None:
    runner = Runner(tmp_path)
    forked = [runner.measure(TINY.called(name)) for name in ("first", "second")]
    alone = runner.measure(replace(TINY.called("alone"), env={"RUNG_ANYTHING": "1"}))
    assert {one["status"] for one in (*forked, alone)} == {"ok"}
    assert {frozenset(one) for one in forked} == {frozenset(alone)}


def test_a_module_that_is_not_there_is_told_in_the_log(tmp_path: Path) -> None:
    runner = Runner(tmp_path)
    assert "No module named 'benchmarks.nowhere'" in runner.measure(Spec("lost", "nowhere:run"))["error"]
    assert runner.measure(TINY)["status"] == "ok"


def test_a_measurement_depends_on_the_modules_it_runs_and_no_others() -> None:
    names = {path.stem for path in _modules("trl_sft")}
    assert {"trl_sft", "trainers", "rows", "held_out", "machine"} <= names
    assert names.isdisjoint({"ours", "report", "runner", "decoders"})
