"""`llmops fetch URI PATH`: what a download Job runs.

Exit status: 0 done, 2 a fault of the address (a person must act: not tried again), 1 anything that may pass by itself.
The last line, which Kubernetes keeps as the termination message of a failure, is the sentence for the status; that of
a success is what the files say of the model (headers.py), by which it is sized. A token for the hub comes as HF_TOKEN,
a bucket's keys as AWS_ACCESS_KEY_ID and so on, logins of registries as OCI_LOGINS; the kubelet reads them from the
Secret that the spec names.
"""

from __future__ import annotations

import argparse
import errno
import json
import os
import shlex
import sys
from pathlib import Path
from typing import Any

from llmops import s3
from llmops.serving import bucket, headers, hub, progress, registry, room
from llmops.serving.refused import Refused
from llmops.serving.transfer import fetch


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="llmops fetch", description="Downloads a model's weights")
    parser.add_argument("uri")
    parser.add_argument("path", type=Path)
    parser.add_argument("--sha256", default="")
    parser.add_argument("--hub", default="", help="the address behind hf://, s3://, gs:// or oci://")
    parser.add_argument("--revision", default="", help="a branch, tag, commit or version there")
    parser.add_argument("--also", action="append", default=[], help="another download: the same arguments, quoted")
    parser.add_argument("--keep", help="names of folders beside, with commas, that stay when room is needed")
    given = parser.parse_args(argv)
    if given.keep is not None:
        room.HERE = room.Room(given.path.parent.parent, frozenset(given.keep.split(",")))
    more = [parser.parse_args(shlex.split(one)) for one in given.also]
    progress.NOW.expect(0, 0)
    telling = progress.serve()
    one = given
    try:
        for one in (given, *more):
            print(_fetch(one), flush=True)
        _tell(headers.describe(given.path))
    except Refused as refusal:
        print(refusal, flush=True)
        return 2
    except OSError as problem:
        full = problem.errno in (errno.ENOSPC, errno.EDQUOT)
        print(
            "the volume is full: write a larger spec.model.cache.size" if full else f"{one.uri}: {problem}",
            flush=True,
        )
        return 2 if full else 1
    finally:
        if telling is not None:
            telling.shutdown()
            telling.server_close()
    return 0


def _tell(found: dict[str, Any], message: Path = Path("/dev/termination-log")) -> None:
    """To whoever reads the container's end; outside a container to nobody."""
    if found and message.exists():
        message.write_text(json.dumps(found))


def _fetch(given: argparse.Namespace) -> str:
    if given.uri.startswith(hub.SCHEME):
        token = os.environ.get("HF_TOKEN", "")
        return hub.fetch_model(given.uri, given.path, given.hub, given.revision, given.sha256, token)
    if given.uri.startswith(bucket.SCHEMES):
        keys = s3.Keys.of(os.environ)
        return bucket.fetch_model(given.uri, given.path, given.hub, given.revision, given.sha256, keys)
    if given.uri.startswith(registry.SCHEME):
        logins = os.environ.get("OCI_LOGINS", "")
        return registry.fetch_model(given.uri, given.path, given.hub, given.revision, logins)
    return fetch(given.uri, given.path, given.sha256)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
