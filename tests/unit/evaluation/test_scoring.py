"""Scorers that people brought along: a process that may do anything wrong, and what is said of it."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from llmops.api import EvalJob, Reason, Settings
from llmops.evaluation.observe import DatasetSeen, FileSeen, Seen, build_run
from llmops.evaluation.plan import State, plan
from llmops.evaluation.rows import Fields, Row, parse
from llmops.evaluation.run import Arm, Run, Typed
from llmops.evaluation.runner import custom, scoring
from llmops.evaluation.runner.answers import Answer, Answers
from llmops.evaluation.targets import Resolved

GOOD = "def score(row, answer):\n    return row['order'] in answer\n"


@pytest.fixture
def scorer(tmp_path: Path):
    made = []

    def make(text: str) -> scoring.Scorer:
        (tmp_path / "mine.py").write_text(text)
        made.append(scoring.Scorer(tmp_path / "mine.py"))
        return made[-1]

    yield make
    for one in made:
        one.end()


def test_a_bool_and_a_number_are_scores(scorer):
    mine = scorer("import json\ndef score(row, answer):\n    return len(answer) / 10 if row else True\n")
    assert mine.ask({}, "é\n") == {"score": 1.0}
    assert mine.ask({"a": 1}, "é\n") == {"score": 0.2}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("def score(row, answer):\n    return 7\n", "the scorer returned 7, where a bool or a number from 0 to 1"),
        ("def score(row, answer):\n    return float('nan')\n", "the scorer returned nan"),
        ("def score(row, answer):\n    return None\n", "the scorer returned None"),
        ("def score(row, answer):\n    return 'x' * 10**7\n", "the scorer returned 'xxx"),
        ("def score(row, answer):\n    return row['nothing']\n", "the scorer raised KeyError: 'nothing'"),
        ("def score(row, answer):\n    raise SystemExit(3)\n", "the scorer raised SystemExit: 3"),
        ("def score(row, answer)\n", "the scorer cannot be used: SyntaxError: expected ':'"),
        ("import nowhere_to_be_found\n", "the scorer cannot be used: ModuleNotFoundError: No module named 'nowhere"),
        ("score = 5\n", "the scorer cannot be used: it defines no function score(row, answer)"),
        ("import os\ndef score(row, answer):\n    os._exit(1)\n", "the scorer's process ended"),
        (
            "import os\ndef score(row, answer):\n    os.write(3, b'x' * 10**6)\n    return 1\n",
            "the scorer's process ended",
        ),
        ("import os\ndef score(row, answer):\n    os.close(3)\n    return 1\n", "the scorer's process ended"),
    ],
)
def test_what_is_no_score_is_said_in_a_sentence_every_time(scorer, text, why):
    mine = scorer(text)
    for _ in range(2):
        told = mine.ask({"a": 1}, "hello")
        assert told["why"].startswith(why)
        assert len(told["why"]) < 400


def test_what_takes_too_long_is_killed_and_the_next_answer_is_scored(scorer):
    mine = scorer("import time\ndef score(row, answer):\n    while answer == 'slow':\n        pass\n    return 1\n")
    assert mine.ask({}, "quick", 5) == {"score": 1.0}
    assert mine.ask({}, "slow", 0.5) == {"why": "the scorer took longer than 0.5 s"}
    assert mine.ask({}, "quick", 5) == {"score": 1.0}


@pytest.mark.parametrize(
    "text",
    [
        "while True:\n    pass\n",  # it never reads, and a long answer fills the pipe
        "import os, time\nif os.fork() == 0:\n    time.sleep(20)\n    os._exit(0)\nwhile True:\n    pass\n",
        "import os, time\nif os.fork() == 0:\n    os.setsid()\n    time.sleep(20)\n    os._exit(0)\n"
        "while True:\n    pass\n",
    ],
)
def test_who_neither_reads_nor_lets_go_of_the_pipes_holds_nobody_up(scorer, text):
    mine, began = scorer(text), time.monotonic()
    assert mine.ask({}, "x" * 200_000, 0.5) == {"why": "the scorer took longer than 0.5 s"}
    assert time.monotonic() - began < 5


def test_a_number_of_numpy_s_is_a_number(scorer):
    mine = scorer(
        "import numpy\ndef score(row, answer):\n    return numpy.float32(0.5) if answer else numpy.bool_(True)\n"
    )
    assert mine.ask({}, "a") == {"score": 0.5}
    assert mine.ask({}, "") == {"score": 1.0}


def test_a_container_that_ended_costs_the_answer_it_had_and_the_next_is_scored(tmp_path):
    address = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(address))
        listening.listen()

        def serve() -> None:
            listening.accept()[0].close()
            connection, _ = listening.accept()
            with connection, connection.makefile("rwb") as stream:
                for _line in stream:
                    stream.write(b'{"score": 1}\n')
                    stream.flush()

        threading.Thread(target=serve, daemon=True).start()
        run = Run("a/b", "", 2, ("mine",), Arm("http://x/v1", "m", "id"), typed=(Typed("mine", "Custom"),))
        rows = [Row(f"r{n}", "q", (), {}) for n in range(2)]
        arm = Answers({row.id: Answer("a", {}) for row in rows}, 0)
        found = custom.marked(run, rows, {"target": arm}, address)["target"].by_id
    assert found["r0"].lacks == {"mine": "the scorers' container ended, perhaps for want of memory"}
    assert found["r1"].marks == {"mine": 1.0}


def test_what_it_prints_is_no_reply(scorer):
    mine = scorer("print('hello')\ndef score(row, answer):\n    print('{\"score\": 1}')\n    return 0.25\n")
    assert mine.ask({}, "a") == {"score": 0.25}


def test_answers_of_both_arms_are_marked_over_the_socket(tmp_path):
    folder, address = tmp_path / "scorers", tmp_path / "socket"
    folder.mkdir()
    (folder / "cites.py").write_text(GOOD)
    (folder / "fails.py").write_text("def score(row, answer):\n    1 / 0\n")
    threading.Thread(target=scoring.serve, args=(folder, address), daemon=True).start()
    rows = [Row(f"r{n}", "q", (), {"order": str(n)}) for n in range(3)]
    arm = Answers({row.id: Answer(f"order {row.values['order']}", {"answered": 1.0}) for row in rows}, 0)
    wrong = Answers({"r0": Answer("none", {})}, 2)
    target = Arm("http://x/v1", "m", "id")
    run = Run("a/b", "", 3, ("cites", "fails"), target, typed=(Typed("cites", "Custom"), Typed("fails", "Custom")))
    found = custom.marked(run, rows, {"target": arm, "baseline": wrong}, address)
    assert {one.marks["cites"] for one in found["target"].by_id.values()} == {1.0}
    assert found["baseline"].by_id["r0"].marks == {"cites": 0.0}
    assert found["target"].by_id["r1"].lacks == {"fails": "the scorer raised ZeroDivisionError: division by zero"}
    assert found["target"].by_id["r1"].marks["answered"] == 1.0
    assert custom.marked(replace(run, typed=()), rows, {"target": arm}, tmp_path / "nowhere") == {"target": arm}


def test_a_container_that_is_not_there_is_waited_for_and_then_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(custom, "PATIENCE", 0.3)
    run = Run("a/b", "", 1, ("mine",), Arm("http://x/v1", "m", "id"), typed=(Typed("mine", "Custom"),))
    with pytest.raises(OSError, match="No such file"):
        custom.marked(run, [], {"target": Answers({}, 0)}, tmp_path / "socket")


def test_the_child_cannot_import_what_lies_beside_it_nor_see_our_environment(tmp_path, monkeypatch):
    (tmp_path / "beside.py").write_text("")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "mine.py").write_text("import beside\n")
    done = subprocess.run(
        [sys.executable, "-I", "-c", scoring.CHILD, str(tmp_path / "mine.py")],
        input=json.dumps({"row": {}, "answer": ""}) + "\n", capture_output=True, text=True, check=True, cwd=tmp_path,
    )  # fmt: skip
    assert "No module named 'beside'" in done.stdout


def seen(scorer: FileSeen, allowed: bool = True) -> Seen:
    whole = {
        "apiVersion": "llmops.dev/v1alpha1",
        "kind": "EvalJob",
        "metadata": {"name": "quality", "namespace": "shop", "generation": 1},
        "spec": {
            "target": {"serviceRef": {"name": "support"}},
            "dataset": {"inline": [{"input": "a", "target": "b"}]},
            "metrics": [{"name": "mine", "type": "Custom", "scorer": {"configMapRef": {"name": "scorers"}}}],
        },
    }
    rows = parse('{"input": "a", "target": "b"}\n', Fields())
    arm = Resolved(Arm("http://gateway/v1", "shop/support", "d", token=True))
    settings = Settings(custom_scorers=allowed)
    one = Seen(whole, EvalJob.model_validate(whole), settings, DatasetSeen(rows=rows), arm, scorers={"mine": scorer})
    return replace(one, run=build_run(one))


def pod_of(one: Seen):
    return next(each for each in plan(one).children if each["kind"] == "Job")["spec"]["template"]["spec"]


def test_it_is_refused_until_the_admin_allows_it():
    wanted = plan(seen(FileSeen(GOOD), allowed=False))
    assert (wanted.state, wanted.reason, wanted.children) == (State.UNSUPPORTED, Reason.UNSUPPORTED, ())
    assert "the operator's admin allows it with LLMOPS_CUSTOM_SCORERS=true" in wanted.sentence


def test_a_scorer_that_is_not_there_is_said_with_what_to_create():
    wanted = plan(seen(FileSeen(problem="ConfigMap shop/scorers does not exist; create it", followed=False)))
    assert wanted.reason is Reason.INVALID_SPEC
    assert wanted.sentence == "metric mine: ConfigMap shop/scorers does not exist; create it"


def test_another_text_is_another_run_and_the_text_is_frozen_with_it():
    one, other = seen(FileSeen(GOOD)), seen(FileSeen(GOOD + "\n"))
    assert one.run.key != other.run.key
    given = next(each for each in plan(one).children if each["metadata"]["name"].endswith("-in"))["data"]
    assert given["scorer-mine.py"] == GOOD


def test_its_container_has_another_user_no_token_and_only_the_socket_in_common():
    pod = pod_of(seen(FileSeen(GOOD)))
    [sidecar], [run] = pod["initContainers"], pod["containers"]
    assert sidecar["restartPolicy"] == "Always"
    assert sidecar["securityContext"]["runAsUser"] == 65533
    assert sidecar["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert [one["name"] for one in sidecar["env"]] == ["HOME"]
    mine = {one["name"] for one in sidecar["volumeMounts"]}
    assert mine & {one["name"] for one in run["volumeMounts"]} == {"scoring"}
    volumes = {one["name"]: one for one in pod["volumes"]}
    assert volumes["scorers"]["configMap"]["items"] == [{"key": "scorer-mine.py", "path": "mine.py"}]
    assert not any("projected" in volumes[name] for name in mine)
    assert pod["automountServiceAccountToken"] is False
