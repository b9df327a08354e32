"""`make demo`: the acts in order, about a page of output; the cluster stays up to look further."""

from __future__ import annotations

import asyncio
import sys
import time

from demo import acts, install
from demo.stage import StageError, act, tell


def main() -> int:
    started = time.monotonic()
    try:
        show = _play()
    except StageError as problem:
        print(f"\nThe demo stopped: {problem}", file=sys.stderr)
        return 1
    print(f"\n{show.asked:,} people asked, {len(show.errors)} met an error; {time.monotonic() - started:.0f} s.")
    print(install.look_further())
    return 1 if show.errors else 0


def _play() -> acts.Show:
    act(1, "A cluster, the operator and the door")
    show = install.operator()
    act(2, "A model of our own, asked through the door")
    acts.services(show)
    acts.ask(show)
    act(3, "Knowledge, measured before it is served")
    acts.index(show)
    acts.worse_index(show)
    act(4, "The first release")
    acts.first_release(show)
    act(5, "A better prompt is evaluated, taken to a few users, promoted")
    asyncio.run(acts.better(show))
    act(6, "A worse prompt is stopped by its evaluation")
    asyncio.run(acts.worse(show))
    act(7, "One that passes its evaluation and fails its users is rolled back")
    asyncio.run(acts.harmful(show))
    acts.pages(show)
    for message in show.errors:
        tell("error", message)
    return show


if __name__ == "__main__":
    sys.exit(main())
