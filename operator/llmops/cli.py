"""The command line: one short function a subcommand. The processes' rooms are imported only when they are started."""

from __future__ import annotations

import argparse
import asyncio
import importlib
import os
import signal
import sys
from collections.abc import Callable

from llmops.api.settings import SettingError

PROCESSES = {
    "gateway": ("llmops.gateway.main", "the one OpenAI-compatible door"),
    "retrieve": ("llmops.retrieval.server.main", "an index's query server"),
    "evaluate": ("llmops.evaluation.runner.main", "one evaluation (runs as a Job)"),
    "score": ("llmops.evaluation.runner.scoring", "scorers that people brought along (a container of such a Job)"),
    "index": ("llmops.retrieval.ingest.main", "one generation of an index (runs as a Job)"),
    "fetch": ("llmops.serving.fetch", "a model's weights onto a volume (runs as a Job)"),
}
ENDED_AT_ONCE = {"index", "fetch", "score"}
"""By SIGTERM, which a container's first process does not hear by itself: a build that was stopped would go on for its
grace of 30 seconds, and might move an alias; an evaluation would wait so long for its scorers."""
ROOMS = {
    "LLMService": "llmops.serving.reconcile",
    "VectorIndex": "llmops.retrieval.reconcile",
    "EvalJob": "llmops.evaluation.reconcile",
    "PromptRelease": "llmops.release.reconcile",
    "GatewayKey": "llmops.access.reconcile",
    "Provider": "llmops.access.reconcile",
}

Command = Callable[[argparse.Namespace], int]


def operator(argv: list[str]) -> int:
    """Reconcile the kinds; with --kinds only the rooms of those are imported."""
    from llmops.control.main import run

    asked = argparse.ArgumentParser(add_help=False)
    asked.add_argument("--kinds", default="")
    wanted = asked.parse_known_args(argv)[0].kinds
    rooms = dict.fromkeys(ROOMS[kind] for kind in (wanted.split(",") if wanted else ROOMS) if kind in ROOMS)
    modules = [importlib.import_module(room) for room in rooms]
    return run(argv, [one for module in modules for one in getattr(module, "CONTROLLERS", None) or [module.CONTROLLER]])


def process(name: str, argv: list[str]) -> int:
    """One of PROCESSES, with its own options."""
    if name in ENDED_AT_ONCE:
        signal.signal(signal.SIGTERM, lambda *_: os._exit(128 + signal.SIGTERM))
    started: int = importlib.import_module(PROCESSES[name][0]).main(argv)
    return started


def crds(_: argparse.Namespace) -> int:
    """Print the CustomResourceDefinitions."""
    from llmops.api.crd import crds as made
    from llmops.desk.generate import as_yaml

    print("---\n".join(as_yaml(crd) for crd in made().values()), end="")
    return 0


def validate(options: argparse.Namespace) -> int:
    """Judge files as the API server would, without one."""
    from llmops.desk.validate import validate as judge

    return judge(options.files)


def revision(options: argparse.Namespace) -> int:
    """What the contents in these files will be called: kind, name, Revision, digest."""
    from llmops.desk.revision import revision as tell

    return tell(options.files)


def status(options: argparse.Namespace) -> int:
    """A line an object."""
    from llmops.desk import look, objects

    kinds = [objects.kind_named(options.kind)] if options.kind else []
    return asyncio.run(look.status(kinds, None if options.all_namespaces else options.namespace, options.name))


def wait(options: argparse.Namespace) -> int:
    """Until a condition or a phase is so."""
    from llmops.desk import look, objects

    kind, name = objects.named(options.object)
    return asyncio.run(look.wait(kind, options.namespace, name, getattr(options, "for"), options.timeout))


def diff(options: argparse.Namespace) -> int:
    """What applying these files would change, and start."""
    from llmops.desk import change

    return asyncio.run(change.diff(options.files, options.namespace))


def explain(options: argparse.Namespace) -> int:
    """The status in words."""
    from llmops.desk import look, objects

    kind, name = objects.named(options.object)
    return asyncio.run(look.explain(kind, options.namespace, name))


def report(options: argparse.Namespace) -> int:
    """A page about a rollout or an evaluation, to be sent to a colleague; several evaluations side by side."""
    from llmops.desk import objects
    from llmops.desk.pages.report import report as page

    first, *more = options.object
    kind, name = objects.named([first, *more[:1]] if "/" not in first else [first])
    names = [name, *(more[1:] if "/" not in first else more)]
    return page(kind, options.namespace, names, options.output)


def decide(options: argparse.Namespace) -> int:
    """Approve, retry or abort what the status shows now."""
    from llmops.desk import change, objects

    kind, name = objects.named(options.object)
    return asyncio.run(change.annotate(kind, options.namespace, name, options.command))


def rollback(options: argparse.Namespace) -> int:
    """Give all users at once a version of a release that they had before."""
    from llmops.desk import objects
    from llmops.desk.rollback import rollback as go_back

    kind, name = objects.named(options.object)
    return asyncio.run(go_back(kind, options.namespace, name, options.to, options.print))


def promote(options: argparse.Namespace) -> int:
    """Print the patch that brings what is released here to another namespace, for Git."""
    from llmops.desk import objects
    from llmops.desk.promote import promote as bring

    kind, name = objects.named(options.object)
    return asyncio.run(bring(kind, options.namespace, name, options.to_namespace, options.offline))


def search(options: argparse.Namespace) -> int:
    """What an index finds for a question; with --poor, the questions that it found nothing good for."""
    from llmops.desk import search as desk
    from llmops.desk.objects import Unknown
    from llmops.desk.reach import Index

    index = Index(options.namespace, options.index, options.url)
    if options.poor:
        return asyncio.run(desk.poor(index, options.json))
    if not (options.question or "").strip():
        raise Unknown('write the question, such as llmops search faq "How do I change my address?", or --poor')
    narrowed = (options.filter, options.generation, options.min_score, tuple(options.as_group))
    wanted = desk.Wanted(options.question, options.top, *narrowed, options.mode, options.tenant)
    return asyncio.run(desk.search(index, wanted, options.json))


def questions(options: argparse.Namespace) -> int:
    """Questions that an index's passages answer, as a draft of the rows of its gate Retrieval."""
    from llmops.desk.model import Model
    from llmops.desk.questions import questions as ask
    from llmops.desk.reach import Index

    index = Index(options.namespace, options.index, options.url)
    model = Model(options.namespace, options.service, options.door)
    return ask(index, model, options.count, options.seed, options.check, options.out)


def key_create(options: argparse.Namespace) -> int:
    """A new key, shown once; the manifest with its hash."""
    from llmops.desk import keys

    whose = options.group, options.tenant
    return keys.create(options.name, options.namespace, options.models, options.expires, *whose)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="llmops", description="Language models in production, on Kubernetes.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("operator", help="process: reconciles the kinds into cluster objects", add_help=False)
    for name, (_, told) in PROCESSES.items():
        commands.add_parser(name, help=f"process: {told}", add_help=False)
    _command(commands, "crds", crds)
    _command(commands, "validate", validate).add_argument("files", nargs="+", metavar="FILE", help="- is stdin")
    _command(commands, "revision", revision).add_argument("files", nargs="+", metavar="FILE", help="- is stdin")
    _looking(commands)
    for verb, told in (
        ("approve", "let a step, or an index's embedding, go on"),
        ("retry", "try it again"),
        ("abort", "take it back"),
    ):
        _of_object(_command(commands, verb, decide, told))
    _moving(commands)
    _asking(commands)
    _drafting(commands)
    key = commands.add_parser("key", help="keys to the door").add_subparsers(dest="what", required=True)
    create = _in_namespace(_command(key, "create", key_create))
    create.add_argument("name", metavar="NAME", help="of the GatewayKey")
    create.add_argument("--models", action="append", default=[], metavar="MODEL", help='such as support or "prompt:*"')
    create.add_argument("--group", action="append", default=[], help="whose documents it may find, such as staff")
    create.add_argument(
        "--tenant", action="append", default=[], help='of an index with tenants it may ask for this one, or "*" for any'
    )
    create.add_argument("--expires", type=_seconds, metavar="DURATION", help="after which it is refused, such as 90d")
    return parser


def _looking(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    table = _in_cluster(_command(commands, "status", status))
    table.add_argument("kind", nargs="?")
    table.add_argument("name", nargs="?")
    table.add_argument("-A", "--all-namespaces", action="store_true")
    waiting = _of_object(_command(commands, "wait", wait))
    waiting.add_argument(
        "--for", default="Ready", type=_awaited, metavar="WHAT",
        help="Ready, Available=False, phase=Released, verdict=Pass",
    )  # fmt: skip
    waiting.add_argument("--timeout", default="5m", type=_seconds, metavar="DURATION", help="such as 30m; 5m without")
    _of_object(_command(commands, "explain", explain))
    paged = _of_object(_command(commands, "report", report, "a page about a release or evaluations, as HTML"))
    paged.add_argument("-o", "--output", metavar="FILE", help="where to write it; stdout without")
    _in_cluster(_command(commands, "diff", diff)).add_argument("files", nargs="+", metavar="FILE")


def _moving(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    back = _of_object(_command(commands, "rollback", rollback))
    back.add_argument("--to", metavar="VERSION", help="or 6 characters of a digest; else what was stable before")
    back.add_argument("--print", action="store_true", help="only print the patch, as YAML for Git")
    onward = _of_object(_command(commands, "promote", promote))
    onward.add_argument("--to-namespace", required=True, metavar="NAMESPACE")
    onward.add_argument("--offline", action="store_true", help="do not ask what is in that namespace")


def _asking(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    asked = _of_index(_command(commands, "search", search))
    asked.add_argument("question", nargs="?")
    asked.add_argument("--top", type=int, default=5, metavar="N", help="so many passages")
    asked.add_argument("--filter", metavar="EXPR", help="such as 'source == \"faq\"'")
    asked.add_argument("--generation", type=int, metavar="N", help="another than the active one")
    asked.add_argument("--mode", choices=("Dense", "Keyword", "Hybrid"), help="to compare; else as the index is set")
    asked.add_argument("--min-score", type=float, metavar="X", help="nothing that is less near")
    asked.add_argument(
        "--as-group", action="append", default=[], metavar="GROUP", help="what members of this group find, and others"
    )
    asked.add_argument("--tenant", metavar="NAME", help="whose documents, in an index that keeps tenants apart")
    asked.add_argument("--poor", action="store_true", help="the questions that found nothing good")
    asked.add_argument("--json", action="store_true", help="as the query server says it")


def _drafting(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    made = _of_index(_command(commands, "questions", questions))
    made.add_argument("--service", required=True, metavar="NAME", help="the LLMService that writes them")
    made.add_argument("--door", type=_address, metavar="URL", help="ask it there, with the key in LLMOPS_KEY")
    made.add_argument("--count", type=_positive, default=50, metavar="N", help="so many questions, 1000 at most")
    made.add_argument("--seed", type=int, default=0, metavar="N", help="another one draws other passages")
    made.add_argument("--check", action="store_true", help="ask the index too; what it does not find comes first")
    made.add_argument("--out", metavar="FILE", help="where to write the rows; stdout without")


def _positive(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 1000:
        raise argparse.ArgumentTypeError("write a number from 1 to 1000")
    return int(text)


def _seconds(text: str) -> float:
    from llmops.api.quantities import seconds

    try:
        return seconds(text)
    except ValueError as problem:
        raise argparse.ArgumentTypeError(str(problem)) from None


def _address(text: str) -> str:
    if not text.startswith(("http://", "https://")):
        raise argparse.ArgumentTypeError("write an address such as http://localhost:8080")
    return text


def _awaited(text: str) -> str:
    from llmops.api import ConditionType

    what, _, value = text.partition("=")
    if not (value and what.lower() in ("phase", "verdict")) and what not in set(ConditionType):
        raise argparse.ArgumentTypeError(
            f"{text!r} is never so: write a condition such as Ready or Available=False, phase=Released or verdict=Pass"
        )
    return text


def _of_index(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument("index", metavar="INDEX", help="the VectorIndex")
    parser.add_argument(
        "--url", type=_address, help="its query server, such as http://localhost:8080; else through the API server"
    )
    return _in_cluster(parser)


def _command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], name: str, run: Command, told: str | None = None
) -> argparse.ArgumentParser:
    said = (run.__doc__ or "").rstrip(".")
    told = told or said[:1].lower() + said[1:]
    parser = commands.add_parser(name, help=told, description=told)
    parser.set_defaults(run=run)
    return parser


def _in_namespace(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument("-n", "--namespace", help="else the context's, or default")
    return parser


def _in_cluster(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument("--context", metavar="NAME", help="of the kubeconfig; else its current-context")
    return _in_namespace(parser)


def _of_object(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument("object", nargs="+", metavar="KIND NAME", help="such as prel support-answer")
    return _in_cluster(parser)


def main(argv: list[str]) -> int:
    """The exit code of one command; what a person can put right is a sentence on stderr and 2."""
    from llmops.desk.objects import Unknown
    from llmops.kube.config import CONTEXT, namespace
    from llmops.kube.connection import NoCluster
    from llmops.kube.errors import ApiError

    try:
        if argv and argv[0] == "operator":
            return operator(argv[1:])
        if argv and argv[0] in PROCESSES:
            return process(argv[0], argv[1:])
        options = _parser().parse_args(argv)
        CONTEXT.set(getattr(options, "context", None))
        if "namespace" in options and options.namespace is None:
            options.namespace = namespace()
        done: int = options.run(options)
        return done
    except (Unknown, SettingError, NoCluster, ApiError, OSError) as error:
        print(f"llmops: {error}", file=sys.stderr)
        return 2


def entry() -> None:
    """The console script."""
    sys.exit(main(sys.argv[1:]))


if __name__ == "__main__":
    entry()
