from __future__ import annotations

from typing import Any

from benchmarks.report import Report, compare, utilisation
from benchmarks.spec import Bench, Peer, Spec

OURS = Spec("b.ours", "ours:train")
PEER = Peer("peer", (Spec("b.peer", "peer:train"),), target=2.0, memory_target=0.5)


def result(rows: float, seconds: float, **more: Any) -> dict[str, Any]:
    return {"status": "ok", "rows": rows, "seconds": seconds, "peak_bytes": 2e9, "held_out_loss": 0.5, **more}


def test_ratios_are_taken_within_each_round() -> None:
    rounds = [
        {"ours": result(60, seconds), "peer": result(60, slower, peak_bytes=5e9)}
        for seconds, slower in ((10, 20), (20, 60), (12, 30))
    ]
    speed, memory = compare(Bench("b", "", OURS, (PEER,)), PEER, rounds)
    assert speed == [
        "b",
        "peer",
        "5.00 (3.00 to 6.00) rows/s",
        "2.00 (1.00 to 3.00) rows/s",
        "2.50 (2.00 to 3.00)x",
        ">= 2x",
        "yes",
        "0.5000 / 0.5000",
        "2.00 / 5.00",
    ]
    assert memory[4:7] == ["0.40 (0.40 to 0.40)x", "<= 0.5x", "yes"]


def test_a_round_that_a_side_did_not_finish_is_left_out() -> None:
    rounds = [
        {"ours": result(60, 10), "peer": {"status": "timeout"}},
        {"ours": result(60, 10), "peer": result(60, 11)},
    ]
    speed = compare(Bench("b", "", OURS, (PEER,)), PEER, rounds)[0]
    assert speed[4:7] == ["1.10 (1.10 to 1.10)x", ">= 2x", "no"]
    assert compare(Bench("b", "", OURS, (PEER,)), PEER, rounds[:1])[0][2] == "not measured"


def test_other_rows_or_other_answers_are_no_comparison() -> None:
    rounds = [{"ours": result(60, 10, choices=[1, 2]), "peer": result(60, 40, choices=[1, 3])}]
    assert compare(Bench("b", "", OURS, (PEER,), agree="choices"), PEER, rounds)[0][6] == "no: choices differ"
    assert compare(Bench("b", "", OURS, (PEER,)), PEER, rounds)[0][6] == "yes"


def test_utilisation_is_a_share_of_the_measured_peak() -> None:
    gemm = {"status": "ok", "peak_flops": {"bfloat16": 800e9}}
    found = {"gemm": gemm, "rounds": [{"ours": result(60, 10, flops={"distinct": 4000e9, "rows": 9000e9})}]}
    assert utilisation(Bench("b", "", OURS, (), mfu_target=0.5), found) == [
        ["b", "800 GFLOP/s", "400", "50.0%", "112.5%", ">= 50%", "yes"]
    ]


def test_nothing_measured_yet_is_said() -> None:
    report = Report()
    missing = {"status": "missing"}
    bench = Bench("b", "a bench", OURS, (PEER,))
    report.add_bench(bench, {"gemm": missing, "ladders": {"peer": []}, "best": {"peer": "b.peer"}, "rounds": []})
    page = report.markdown()
    assert page.startswith("Not measured yet.\n")
    assert "| b | peer | not measured | not measured |  | >= 2x | no |  |  |" in page
    assert "peer, at one setting alone: b.peer." in page


def test_each_step_of_a_ladder_has_a_line() -> None:
    report, missing = Report(), {"status": "missing"}
    peer = Peer("peer", (Spec("b.peer.0", "peer:train"), Spec("b.peer.1", "peer:train", note="1: quicker")))
    found = {"gemm": missing, "ladders": {"peer": [missing, result(60, 20)]}, "best": {"peer": "b.peer.1"}}
    report.add_bench(Bench("b", "a bench", OURS, (peer,)), {**found, "rounds": []})
    page = report.markdown()
    assert "| b.peer.0 |  |  |  |  |  | not measured |" in page
    assert "| 1: quicker | 3.00 |  | 2.00 | 0.5000 |  | **best** |" in page
