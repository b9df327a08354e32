"""control: the machinery that every kind shares. A key goes in, a reconcile runs, it says when to look again.

    kopf's watch (watch.py) ──► key ──► queue.py ──► loop.py ──► the kind's reconcile(key, cluster, clock)
    the cache's changes ────────┘          ▲                              │
                                           └───────── LookAgain ──────────┘

The key (kind, namespace, name) is all that travels: a lost event costs time, never correctness. One worker a key at a
time; what arrives meanwhile is merged into one more turn. main.py is the process: leader or standby, health, metrics.
reports.py is the one channel from the gateways; evidence.py keeps what they counted of a rollout across restarts, and
progress.py has the conditions of one. turns.py: which turn of a schedule it is. Nothing here knows any kind.
"""

from llmops.control.clock import Clock, SystemClock
from llmops.control.conditions import Condition, merge, summary
from llmops.control.key import Controller, Index, Key, LookAgain, Reconcile, Refers

__all__ = [
    "Clock", "Condition", "Controller", "Index", "Key", "LookAgain", "Reconcile", "Refers", "SystemClock", "merge",
    "summary",
]  # fmt: skip
