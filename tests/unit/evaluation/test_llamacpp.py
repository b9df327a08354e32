"""The panel against a real engine: llama.cpp with the tiny model of the tests. Its opinions are worth nothing; that the
protocol is understood, logprobs and the missing echo included, is what is tested.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.ports import free_port

from llmops.evaluation.run import Arm, Typed
from llmops.evaluation.verdict import Verdict, judge

from .conftest import value, write_run
from .test_runner import places, results, run_to_end

HERE = Path(__file__).parents[3]
ROWS = [json.loads(line) for line in (HERE / "tests/models/shop-qa.jsonl").read_text().splitlines()][:8]


@pytest.fixture(scope="module")
def engine() -> Iterator[str]:
    """The engine's address, once it answers."""
    port = free_port()
    process = subprocess.Popen(
        [
            sys.executable, str(HERE / "images/llamacpp/serve.py"), "--host", "127.0.0.1", "--port", str(port),
            "--model", str(HERE / "tests/models/support-good.gguf"), "--alias", "support",
            "--context-length", "1024", "--drain-seconds", "0",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        wait_until_healthy(port)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.kill()
        process.wait()


def wait_until_healthy(port: int) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
    raise AssertionError("the engine does not answer")


def test_a_real_engine_is_timed_judged_and_found_out_as_one_that_does_not_echo(engine, tmp_path):
    rubric = "Does the answer help?"
    arm = Arm(engine, "support", "1")
    write_run(
        tmp_path / "run",
        ROWS,
        arm,
        metrics=("exact_match", "chrf", "latency", "ttft", "perplexity", "help", "wins"),
        typed=(Typed("help", "Judge", {"rubric": rubric}, arm), Typed("wins", "Pairwise", {"rubric": rubric}, arm)),
        baseline=arm,
        concurrency=2,
    )
    run_to_end(*places(tmp_path))
    found = results(tmp_path / "report")

    assert (found.arms["target"].errors, found.metric("exact_match").target.n) == (0, len(ROWS))
    assert value(found, "exact_match") > 0
    assert 0 < value(found, "ttft") <= value(found, "latency")
    # it was trained to sell tents: what it says as a judge is no score, and that is an error and no pass
    helped, wins = found.metric("help"), found.metric("wins")
    assert found.steps["help"]
    assert helped.unmarked > 0
    assert "the judge wrote" in helped.why
    assert wins.target.n + wins.unmarked == len(ROWS)
    assert "does not echo" in found.metric("perplexity").why
    assert judge(found, []).verdict is Verdict.ERROR
