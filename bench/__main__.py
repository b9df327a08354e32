"""`make bench`: every bench in turn, as it goes on stdout, and its figures, with the date and command, in
bench/results.md."""

from __future__ import annotations

import datetime
import subprocess
import sys
from pathlib import Path

BENCHES = (
    "bench.evidence", "bench.rules", "bench.scaling", "bench.wake", "bench.dataplane", "bench.controlplane",
    "bench.writes", "bench.index", "bench.index_memory", "bench.knowledge", "bench.tenants", "bench.filters",
    "bench.faults",
)  # fmt: skip
RESULTS = Path(__file__).with_name("results.md")


def main() -> int:
    wanted = [f"bench.{name}" for name in sys.argv[1:]] or list(BENCHES)
    failed = 0
    for bench in wanted:
        print(f"· {bench}", file=sys.stderr, flush=True)
        code, figures = _run(bench)
        failed += code != 0
        if figures:
            _keep(bench, figures)
    return failed


def _run(bench: str) -> tuple[int, str]:
    """Its exit status and figures; what else it says is for who waits."""
    figures = ""
    with subprocess.Popen([sys.executable, "-u", "-m", bench], stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        for line in running.stdout:
            print(line, end="", flush=True)
            figures += line if line.startswith("{") else ""
    return running.returncode, figures


def _keep(bench: str, lines: str) -> None:
    """Replaces the section of this bench, so that the page holds one result a bench, the newest."""
    text = (
        RESULTS.read_text() if RESULTS.exists() else "# Measured\n\nWritten by `make bench`; one JSON line a figure.\n"
    )
    head, *sections = text.split("\n## ")
    kept = [s for s in sections if not s.startswith(bench + "\n")]
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    kept.append(f"{bench}\n\n{today}, `python -m {bench}`\n\n```\n{lines}```\n")
    RESULTS.write_text("\n## ".join([head, *sorted(kept)]))


if __name__ == "__main__":
    sys.exit(main())
