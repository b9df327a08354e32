"""llama.cpp as an OpenAI-compatible server, from the xllamacpp wheel; on SIGTERM it finishes what it is answering.

The library cuts streams when it is told to stop, so we do not tell it before it is idle: Kubernetes has taken the pod
out of its Service by then, and what still arrives in between is answered too.

    serve.py --model /models/m.gguf --alias shop/support --port 8080 --context-length 4096 --parallel 4
             [--embeddings --pooling mean | --reranking] [--threads 2] [--drain-seconds 60]
             [--adapter tone=/models/tone.gguf …]
"""

import argparse
import json
import signal
import sys
import threading
import time
import urllib.error
import urllib.request

import adapters
import xllamacpp

QUIET_SECONDS = 3.0  # idle for so long, after the endpoints forgot us: then nobody is still being sent here
LOOK_SECONDS = 0.2


def main() -> int:
    wanted = _arguments()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    started = time.monotonic()
    names = [one.partition("=")[0] for one in wanted.adapter]
    if names:
        adapters.serve(wanted.host, wanted.port, wanted.port + 1, names)
    server = xllamacpp.Server(_parameters(wanted))
    print(f"serving {wanted.model} as {wanted.alias} at {server.listening_address} "
          f"after {time.monotonic() - started:.1f} s", flush=True)  # fmt: skip
    stop.wait()
    _drain(wanted.port, wanted.drain_seconds)
    return 0


def _parameters(wanted: argparse.Namespace) -> xllamacpp.CommonParams:
    given = xllamacpp.CommonParams()
    given.model.path = wanted.model
    given.model_alias = {wanted.alias}
    given.hostnames = [wanted.host]
    given.port = wanted.port
    given.n_parallel = wanted.parallel
    given.n_ctx = wanted.context_length * wanted.parallel
    given.cpuparams.n_threads = given.cpuparams_batch.n_threads = wanted.threads
    given.endpoint_metrics = given.endpoint_slots = True
    given.use_jinja = True
    given.warmup = False
    if wanted.adapter:
        given.hostnames, given.port = ["127.0.0.1"], wanted.port + 1
        given.lora_adapters = [_adapter(one.partition("=")[2]) for one in wanted.adapter]
        # a kept prompt does not know through which adapter it was read: answers would be of both (seen)
        given.cache_prompt = False
    if wanted.embeddings or wanted.reranking:
        pooling = "rank" if wanted.reranking else wanted.pooling
        given.embedding = True
        given.n_batch = given.n_ubatch = max(2048, wanted.context_length)
        given.pooling_type = getattr(xllamacpp.llama_pooling_type, f"LLAMA_POOLING_TYPE_{pooling.upper()}")
    return given


def _adapter(path: str) -> xllamacpp.CommonAdapterLoraInfo:
    """Loaded, and applied to nothing: each request says which one it wants."""
    found = xllamacpp.CommonAdapterLoraInfo()
    found.path, found.scale = path, 0.0
    return found


def _drain(port: int, seconds: float) -> None:
    """Waits until no slot works and none was asked for QUIET_SECONDS, or `seconds` have passed."""
    end, quiet_since = time.monotonic() + seconds, time.monotonic()
    print(f"stopping: finishing what is being answered, for at most {seconds:g} s", flush=True)
    while time.monotonic() < end:
        if _busy(port):
            quiet_since = time.monotonic()
        elif time.monotonic() - quiet_since > QUIET_SECONDS:
            return
        time.sleep(LOOK_SECONDS)
    print("stopping with requests unfinished: raise terminationGracePeriodSeconds", file=sys.stderr, flush=True)


def _busy(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/slots", timeout=2) as reply:
            if any(slot["is_processing"] for slot in json.load(reply)):
                return True
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=2) as reply:
            lines = reply.read().decode().splitlines()
        return any(line.startswith("llamacpp:requests_deferred ") and float(line.split()[1]) > 0 for line in lines)
    except (urllib.error.URLError, OSError, ValueError, KeyError):
        return True  # too busy to say: not idle


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="llama.cpp behind OpenAI's protocol")
    parser.add_argument("--model", required=True, help="a GGUF file")
    parser.add_argument("--alias", default="model", help="the name it goes by in /v1/models")
    parser.add_argument("--host", default="0.0.0.0")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--context-length", type=int, default=2048, help="tokens a request")
    parser.add_argument("--parallel", type=int, default=4, help="requests at a time")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--embeddings", action="store_true")
    parser.add_argument("--reranking", action="store_true", help="question and document together, at /v1/rerank")
    parser.add_argument("--pooling", choices=("mean", "cls", "last"), default="mean")
    parser.add_argument("--adapter", action="append", default=[], metavar="NAME=FILE.gguf")
    parser.add_argument("--drain-seconds", type=float, default=60.0)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
