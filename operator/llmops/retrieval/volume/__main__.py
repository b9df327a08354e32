"""python -m llmops.retrieval.volume --volume FOLDER --image IMAGE [--was IMAGE] [--without-backup] [--asked WORD]

Exit status 0: IMAGE may open the data; REFUSED: a person has to write something; 1: it is worth another try. What there
is to say is one JSON object in the container's termination message, where the operator reads it.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from pathlib import Path
from typing import Any

from llmops.retrieval.volume import REFUSED
from llmops.retrieval.volume.files import Busy, Refused
from llmops.retrieval.volume.opened import UNKNOWN, last, open_for

MESSAGE = Path("/dev/termination-log")


def main(argv: list[str], message: Path = MESSAGE) -> int:
    """Open the volume for an image."""
    parser = argparse.ArgumentParser(prog="llmops.retrieval.volume", description="An engine's volume, before it opens")
    parser.add_argument("--volume", type=Path, required=True, help="where it is mounted")
    parser.add_argument("--image", required=True, help="which image is to open it")
    parser.add_argument("--was", default=UNKNOWN, help="which one wrote what is there, where the volume does not know")
    parser.add_argument("--without-backup", action="store_true", help="save nothing and put nothing back")
    parser.add_argument("--asked", default="", help="repeated with a refusal: what was known when this was asked")
    given = parser.parse_args(argv)
    try:
        opened = open_for(given.image, given.volume, given.was, not given.without_backup)
    except Refused as refused:
        told = {"image": given.image, "was": last(given.volume, given.was) or "", "asked": given.asked}
        return _say(message, {**told, "refused": str(refused)}, REFUSED)
    except (Busy, OSError) as problem:
        return _say(message, {"image": given.image, "failed": f"its volume cannot be opened: {problem}"}, 1)
    kept = opened.backup
    saved = {"image": kept.image, "at": kept.at, "bytes": kept.size} if kept else None
    told = {"image": given.image, "restored": opened.restored, "began": opened.began, "backup": saved}
    return _say(message, told, 0)


def _say(message: Path, told: dict[str, Any], status: int) -> int:
    text = json.dumps(told, ensure_ascii=False)
    print(text, flush=True)
    if message.exists():  # outside a container it does not
        message.write_text(text)
    return status


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the first process of a container is not ended by it
    sys.exit(main(sys.argv[1:]))
