"""Actors of a Ray cluster as workers."""

import pickle
from collections.abc import Callable
from typing import Any

from ..extras import require
from .foreman import Died, Failed, Finished, Ready, Report


class _Actor:
    """Runs on the cluster; holds what `load` gives."""

    def __init__(self, packed: bytes):
        self.work = pickle.loads(packed)()

    def ready(self) -> Ready:
        return Ready()

    def do(self, block: bytes) -> Finished:
        return Finished(self.work(pickle.loads(block)))


class Actors:
    """Workers that are actors of the Ray cluster that `ray.init()` finds: the one this process is connected to, that of
    RAY_ADDRESS, one that was started on this machine, or a new one of this machine alone, which ends with the crew. Each has
    a core, and a GPU where the cluster has any and `gpus` allows it.

    An actor that dies, with its node or alone, is replaced as soon as the cluster has room. Ray restarts none by itself: a
    block that waits for a restart on a node that is gone would hold up all that stands behind it.

    Args:
        load: picklable; called once in every actor, gives the function of a block.
        gpus: whether the function can use one.

    Raises:
        MissingPackage: Ray is not installed.
        ConnectionError: RAY_ADDRESS names no cluster.
    """

    def __init__(self, load: Callable[[], Callable[[Any], Any]], gpus: bool):
        require("ray", "ray", "--engine ray")
        import ray

        self.ray: Any = ray
        self.connected = not self.ray.is_initialized()
        if self.connected:
            self.ray.init(log_to_driver=False, logging_level="warning")
        there = self.ray.cluster_resources()
        gpus = gpus and there.get("GPU", 0) >= 1
        self.size = max(1, int(there.get("GPU" if gpus else "CPU", 1)))
        self.actor = self.ray.remote(num_cpus=1, num_gpus=int(gpus), max_restarts=0)(_Actor)
        self.packed = self.ray.put(pickle.dumps(load))
        self.actors: list[Any] = []
        self.waited: dict[Any, Any] = {}  # reference to what comes -> the actor that it comes from

    def hire(self) -> None:
        actor = self.actor.remote(self.packed)
        self.actors.append(actor)
        self.waited[actor.ready.remote()] = actor

    def give(self, worker: Any, block: Any) -> None:
        self.waited[worker.do.remote(pickle.dumps(block))] = worker

    def reports(self, wait: bool) -> list[tuple[Any, Report]]:
        done, _ = self.ray.wait(list(self.waited), num_returns=1, timeout=None if wait else 0)
        found: list[tuple[Any, Report]] = []
        for reference in done:
            worker = self.waited.pop(reference)
            try:
                found.append((worker, self.ray.get(reference)))
            except self.ray.exceptions.RayTaskError as error:
                found.append((worker, Failed(error.cause)))
            except self.ray.exceptions.RayError as error:  # of the actor, or its node, or what it left there
                self.actors.remove(worker)
                self.ray.kill(worker)
                found.append((worker, Died(str(error).strip().splitlines()[0])))
        return found

    def close(self) -> None:
        for worker in self.actors:
            self.ray.kill(worker)
        if self.connected:
            self.ray.shutdown()
