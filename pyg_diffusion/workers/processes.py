"""Processes of this machine as workers."""

import multiprocessing
import os
import pickle
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import connection
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

from .foreman import Died, Failed, Finished, Ready, Report

UNGUARDED = "in a script, what starts them must stand under 'if __name__ == \"__main__\":'"
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


def cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def interrupts_held() -> Iterator[None]:
    """Ctrl-C waits, and processes started here inherit that, so that it does not hit one on its way to `start_worker`."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows, where Ctrl-C is another thing
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Libraries that a process started here loads take one thread, for there are as many processes as cores."""
    before = dict(os.environ)
    os.environ.update(ONE_THREAD)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def start_worker() -> None:
    """Called in a process of one's own: leave Ctrl-C to the parent, and never outlive it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=lambda: (connection.wait([parent.sentinel]), os._exit(1)), daemon=True).start()


def _work(pipe: Connection, packed: bytes) -> None:
    """A worker's life: load, then block after block until the pipe ends."""
    start_worker()
    work = pickle.loads(packed)()
    pipe.send_bytes(pickle.dumps(Ready()))
    while True:
        try:
            block = pickle.loads(pipe.recv_bytes())
        except EOFError:
            return
        pipe.send_bytes(_packed(work, block))


def _packed(work: Callable[[Any], Any], block: Any) -> bytes:
    try:
        return pickle.dumps(Finished(work(block)))
    except Exception as error:
        try:
            pickle.loads(pickle.dumps(error))  # some pickle, and cannot be made again
        except Exception:
            error = RuntimeError(f"{type(error).__name__}: {error}")
        return pickle.dumps(Failed(error))


class Processes:
    """Workers that are processes, each of one thread. They start by forks of a server process that has imported what `load`
    needs, where there is such a thing (`forkserver`), else each anew.

    Args:
        load: picklable; called once in every worker, gives the function of a block.
    """

    def __init__(self, load: Callable[[], Callable[[Any], Any]]):
        linux = sys.platform.startswith("linux")  # elsewhere a fork of a process that has loaded libraries may crash
        self.context: Any = multiprocessing.get_context("forkserver" if linux else "spawn")
        if linux:
            self.context.set_forkserver_preload([type(load).__module__])
        self.packed = pickle.dumps(load)
        self.processes: dict[Connection, BaseProcess] = {}
        self.begun: set[Connection] = set()

    @property
    def size(self) -> int:
        return cores()

    def hire(self) -> None:
        ours, theirs = self.context.Pipe()
        process = self.context.Process(target=_work, args=(theirs, self.packed), daemon=True)
        with interrupts_held(), _one_thread():
            process.start()
        theirs.close()
        self.processes[ours] = process

    def give(self, worker: Connection, block: Any) -> None:
        with suppress(OSError):  # it has died, which `reports` will find
            worker.send_bytes(pickle.dumps(block))

    def reports(self, wait: bool) -> list[tuple[Connection, Report]]:
        found: list[tuple[Connection, Report]] = []
        for worker in connection.wait(list(self.processes), None if wait else 0):
            assert isinstance(worker, Connection)
            try:
                found.append((worker, pickle.loads(worker.recv_bytes())))
                self.begun.add(worker)
            except (EOFError, OSError):
                how = self._end(worker)
                found.append((worker, Died(how if worker in self.begun else f"{how}; {UNGUARDED}")))
        return found

    def _end(self, worker: Connection) -> str:
        process = self.processes.pop(worker)
        worker.close()
        process.join()
        code = process.exitcode or 0
        return f"signal {-code}" if code < 0 else f"exit status {code}"

    def close(self) -> None:
        for process in self.processes.values():
            process.kill()
        for worker in list(self.processes):
            self._end(worker)
