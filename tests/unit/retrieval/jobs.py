"""What a cluster does with a controller's Jobs and Deployments: pods, tried again and collected as Kubernetes does."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from itertools import count
from typing import Any

from tests.unit.retrieval.building import Building
from tests.unit.retrieval.lagging import Clock, Server

from llmops.kube.resources import CONFIG_MAP, DEPLOYMENT, JOB, POD, Object, Resource
from llmops.retrieval import work as works

FIRST_BACKOFF, LAST_BACKOFF = 10.0, 360.0  # seconds until a Job's next pod: Kubernetes', doubling
UID = "job-uid"
Begin = Callable[[Coroutine[Any, Any, Any]], asyncio.Task[Any]]


class Jobs:
    """The Job controller, the kubelet and the garbage collector. `begin` begins a task, `wrong` is told what must not
    be, `say` what is."""

    def __init__(
        self, server: Server, clock: Clock, dice: random.Random, building: Building, begin: Begin,
        wrong: Callable[[str], None], say: Callable[[str], None],
    ) -> None:  # fmt: skip
        self._server, self._clock, self._dice, self._building = server, clock, dice, building
        self._begin, self._wrong, self._say = begin, wrong, say
        self._count = count(1)
        self._processes: dict[str, asyncio.Task[int]] = {}  # by their pods' names
        self._alive: set[str] = set()  # of these, those that have begun
        self.graces: tuple[float, ...] = (0.1, 3.0, 30.0)  # seconds until a process that is to end has ended
        self.begun: list[str] = []
        self.exhausted: set[str] = set()  # the uids of Jobs of which every try died
        server.witnesses.append(self._witness)

    @property
    def going(self) -> bool:
        """Whether a Job is not over, or a pod of one that is gone."""
        return bool(self._processes) or any(not _over(one) for one in self._server.all(JOB))

    @property
    def alive(self) -> bool:
        """Whether something may move the alias at this moment."""
        return bool(self._alive)

    def _witness(self, kind: str, resource: Resource, obj: Object) -> None:
        if (kind, resource) == ("ADDED", JOB):
            self.begun.append(obj["metadata"]["name"])
            self._begin(self._tries(obj))
        if (kind, resource) == ("DELETED", JOB):
            self._begin(self._collect(obj))
        if (kind, resource) == ("ADDED", DEPLOYMENT):
            self._begin(self._stand(obj))

    async def _pause(self, least: float, most: float) -> None:
        await asyncio.sleep(self._dice.uniform(least, most))

    async def _stand(self, deployment: Object) -> None:
        """Of a Deployment nobody wants to know more than that its pod is ready."""
        await self._pause(0.5, 2)
        template = deployment["spec"]["template"]
        metadata = {**template["metadata"], "name": f"{deployment['metadata']['name']}-0"}
        ready = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
        self._server.put(POD, {"metadata": metadata, "spec": template["spec"], "status": ready})

    async def _tries(self, job: Object) -> None:
        """A Job's life: one pod after the other, until one succeeds or fails for good, or it was the last."""
        name, failures = job["metadata"]["name"], 0
        await self._pause(0.02, 0.3)
        while self._is_there(job):
            status = await self._try(job, f"{name}-{next(self._count)}")
            failures += status != 0
            await self._pause(0.02, 0.5)
            if status in (0, works.CONFIG_ERROR) or failures > job["spec"]["backoffLimit"]:
                if self._is_there(job):
                    self.exhausted |= {job["metadata"]["uid"]} if status not in (0, works.CONFIG_ERROR) else set()
                    ended = {"type": "Failed" if status else "Complete", "status": "True", "message": "ended"}
                    self._server.change(JOB, name, {"status": {"conditions": [ended]}})
                    self._say(f"Job {name}: {ended['type']}")
                return
            await asyncio.sleep(min(LAST_BACKOFF, FIRST_BACKOFF * 2 ** (failures - 1)))

    def _is_there(self, job: Object) -> bool:
        found = self._server.find(JOB, job["metadata"]["name"])
        return found is not None and found["metadata"]["uid"] == job["metadata"]["uid"]

    async def _try(self, job: Object, name: str) -> int:
        """One pod, and its exit status."""
        template = job["spec"]["template"]
        labels = {**template["metadata"]["labels"], "job-name": job["metadata"]["name"], UID: job["metadata"]["uid"]}
        pod = {"metadata": {"name": name, "labels": labels}, "spec": template["spec"], "status": {"phase": "Pending"}}
        self._server.put(POD, pod)
        process = self._processes[name] = self._begin(self._process(job, name))
        await asyncio.wait({process})
        del self._processes[name]
        self._alive.discard(name)
        status = 137 if process.cancelled() else process.result()
        ended = self._server.change(POD, name, {"status": {"phase": "Failed" if status else "Succeeded"}})
        if ended["metadata"].get("deletionTimestamp"):
            await self._pause(0, 0.2)
            self._server.remove(POD, name)
        return status

    async def _collect(self, job: Object) -> None:
        """The pods of a Job that is gone follow it. A process ends at once, or is killed half a minute later where it
        does not hear the signal, as on a node that stalls or of a version before, and does until then what it does."""
        await self._pause(0.02, 0.5)
        for pod in self._server.all(POD):
            name = pod["metadata"]["name"]
            if pod["metadata"]["labels"].get(UID) != job["metadata"]["uid"]:
                continue
            if name not in self._processes:
                self._server.remove(POD, name)
                continue
            self._server.change(POD, name, {"metadata": {"deletionTimestamp": self._clock.stamp()}})
            process = self._processes[name]
            if name in self._alive:
                await asyncio.wait({process}, timeout=self._dice.choice(self.graces))
            process.cancel()

    async def _process(self, job: Object, pod: str) -> int:
        """`llmops index`, from its image to its exit status."""
        await self._pause(0.5, 2)
        volumes = job["spec"]["template"]["spec"]["volumes"]
        given = next(one["configMap"]["name"] for one in volumes if one["name"] == "work")
        while (found := self._server.find(CONFIG_MAP, given)) is None:  # it is not mounted, and the kubelet tries again
            await asyncio.sleep(5)
        self._alive.add(pod)
        self._say(f"{pod} begins")
        if len(self._alive) > 1:
            self._wrong(f"two at once may move the alias: {', '.join(sorted(self._alive))}")
        return await self._building.run(found["data"][works.WORK_FILE], job["metadata"]["name"], pod)


def _over(job: Object) -> bool:
    return bool((job.get("status") or {}).get("conditions"))
