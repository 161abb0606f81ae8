"""`python -m benchmarks [NAME...]`: measure what is missing, print the tables, write docs/benchmarks.md."""

from __future__ import annotations

import argparse
import signal
import sys

from benchmarks.registry import all_benches
from benchmarks.report import Report
from benchmarks.runner import HERE, Runner
from benchmarks.spec import SMOKE, Bench, Size


def main() -> int:
    """Run what was asked for."""
    # Ended politely, it takes the measurement under way with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", help="benches to run; none = all")
    parser.add_argument("--list", action="store_true", help="name the benches and end")
    parser.add_argument("--smoke", action="store_true", help="a few rows each: proves that everything runs")
    parser.add_argument("--report", action="store_true", help="measure nothing: write the page from what there is")
    parser.add_argument("--retry", action="store_true", help="measure failed and timed-out steps again")
    asked = parser.parse_args()
    benches = all_benches(SMOKE if asked.smoke else Size())
    known = [bench.name for bench in benches]
    if asked.list:
        print("\n".join(f"{bench.name}\t{bench.title}" for bench in benches))
        return 0
    unknown = sorted(set(asked.names) - set(known))
    if unknown:
        print(f"BENCH={unknown[0]}: no such bench. There are: {', '.join(known)}.", file=sys.stderr)
        return 2
    folder = HERE / "results" / ("smoke" if asked.smoke else "raw")
    runner = Runner(folder, asked.retry, measures=not asked.report)
    found = Runner(folder, measures=False)
    report = Report()
    for bench in benches:
        source = runner if not asked.names or bench.name in asked.names else found
        if isinstance(bench, Bench):
            report.add_bench(bench, source.bench(bench))
        else:
            report.add_survey(bench, source.survey(bench))
    print(report.text(asked.names))
    if not asked.smoke:
        report.write()
    return 0


if __name__ == "__main__":
    sys.exit(main())
