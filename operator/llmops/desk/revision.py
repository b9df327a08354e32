"""`llmops revision FILE...`: what the contents in these files will be called, before anything is applied."""

from __future__ import annotations

import sys
from typing import Any

from pydantic import ValidationError

from llmops.api import LLMService, PromptRelease, short
from llmops.desk.objects import Unknown
from llmops.desk.validate import read
from llmops.release.content import content_digest as released
from llmops.release.plan import revision_name
from llmops.serving.revision import content_digest as served

NAMED = {
    LLMService.KIND: lambda raw: _of_service(LLMService.parse(raw)),
    PromptRelease.KIND: lambda raw: _of_release(PromptRelease.parse(raw)),
}


def revision(files: list[str]) -> int:
    """A line an object: kind, name, its Revision's name, the whole digest."""
    told = 0
    for file in files:
        for place, given in read(file):
            if isinstance(given, str):
                raise Unknown(f"{place}: {given}")
            if given.get("kind") in NAMED:
                print("\t".join(_named(place, given)))
                told += 1
    if not told:
        print("no LLMService and no PromptRelease in these files: only those have Revisions", file=sys.stderr)
    return 0 if told else 1


def _named(place: str, given: dict[str, Any]) -> tuple[str, str, str, str]:
    try:
        name, digest = NAMED[given["kind"]](given)
    except ValidationError as error:
        first = error.errors()[0]
        raise Unknown(f"{place}: {'.'.join(map(str, first['loc']))}: {first['msg']}; see llmops validate") from None
    return given["kind"], given["metadata"]["name"], name, digest


def _of_service(service: LLMService) -> tuple[str, str]:
    digest = served(service)
    return f"{service.metadata.name}-llm-{short(digest)}", digest


def _of_release(release: PromptRelease) -> tuple[str, str]:
    digest = released(release)
    return revision_name(release.metadata.name, digest), digest
