"""The index Job and the query server as the processes they are, in databases that are somebody else's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests.e2e.test_index_engine import ROWS, Index, embedder, until
from tests.ports import free_port
from tests.unit.retrieval import databases

from llmops.retrieval.stores import CREDENTIALS


@pytest.mark.parametrize("engine", [databases.postgres, databases.qdrant])
def test_an_index_is_built_searched_and_rebuilt_in_somebodys_database(
    engine: databases.Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with databases.running(engine(tmp_path, True)) as database:
        where = database.where
        for key, variable in CREDENTIALS.items():
            monkeypatch.setenv(variable, getattr(where, key))
        index = Index(tmp_path, 0, free_port())
        index.more = ("--engine-type", where.type)
        place = f"{where.type} External {where.uri}"
        index.work = replace(index.work, engine=where.uri, engine_type=where.type, place=place)
        index.questions = []
        with embedder(index.embedder_port), index.serving():
            assert index.search("How do I change my email address?")[0] == 503  # nothing is served yet, and it says so
            first = index.build()
            assert (first.served, first.rows, first.embedded) == (True, 100, 100)
            until(lambda: index.found("How do I change my email address?") == "faq/q001#0", 60)

            index.documents([*ROWS, {"id": "new", "answer": "Snow shoes are rented out for nine euros a day."}])
            second = index.build(copy_vectors=True)
            assert (second.served, second.embedded, second.kept) == (True, 1, (1, 2))
            until(lambda: index.found("Can I rent snow shoes?") == "faq/new#0", 60)
            status, answer = index.search("snow", filter="source == 'faq' and not document like 'faq/n%'")
            assert (status, answer["passages"][0]["source"] != "faq/new") == (200, True)
            status, answer = index.search("snow", filter="source ==")
            assert (status, "filter: it cannot be read" in answer["error"]["message"]) == (400, True)

            database.end()
            assert index.search("anything")[0] == 503
            database.begin()
            until(lambda: index.found("Can I rent snow shoes?") == "faq/new#0", 60)

            for variable in CREDENTIALS.values():
                monkeypatch.setenv(variable, "guess")
            index.documents(ROWS)
            code, folder = index.run()
            assert (code, "let us in" in (told := (folder / "failure.txt").read_text()) or "API key" in told) == (
                3,
                True,
            )
