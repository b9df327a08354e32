"""python3 -m tests.cluster up | down | status | load [--cluster=current|kind|node]."""

from __future__ import annotations

import argparse
import subprocess
import sys

from . import choose, given, images
from .debian import CannotInstall
from .network import AddressesTaken
from .processes import NotStarted
from .progress import Progress
from .status import status


def main() -> int:
    parser = argparse.ArgumentParser(prog="python3 -m tests.cluster", description="The tests' and the demo's cluster")
    parser.add_argument("command", choices=("up", "down", "status", "load"))
    parser.add_argument("targets", nargs="*", help="load: the Dockerfile's targets (default: all)")
    parser.add_argument("--cluster", default="auto", choices=choose.CHOICES)
    asked = parser.parse_intermixed_args()
    try:
        match asked.command:
            case "up":
                print(f"KUBECONFIG={choose.up(asked.cluster)}")
            case "down":
                choose.down(asked.cluster)
            case "status":
                return status(asked.cluster)
            case "load":
                images.load(choose.choose(asked.cluster), asked.targets, Progress())
    except (CannotInstall, AddressesTaken, NotStarted, given.NotOurs, RuntimeError) as problem:
        print(f"cluster: {problem}", file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as failed:
        print(f"cluster: {' '.join(map(str, failed.cmd))}: {failed.stderr or failed}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
