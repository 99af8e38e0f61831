"""A server on a socket, from its start to its last answer."""

import signal
import socket
from types import FrameType

import uvicorn

from ..console import UsageError, say
from ..tasks.molecules.generator import ConformerGenerator
from ..weights_io import SHIPPED, WeightsError
from .app import LOCAL, make_app
from .counts import Counts
from .desk import Desk
from .limits import Limits


class Server(uvicorn.Server):
    """Ends when told: takes nothing new (503), finishes what waits and runs, and goes. Told twice, it goes at once."""

    def __init__(self, config: uvicorn.Config, desk: Desk):
        super().__init__(config)
        self.desk = desk

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self.desk.draining:
            self.should_exit = self.force_exit = True
            return
        self.desk.drain()
        say(
            f"{signal.Signals(sig).name}: {self.desk.waiting} jobs are finished, then the server ends; once more ends it now"
        )

    async def on_tick(self, counter: int) -> bool:
        if self.desk.draining and self.desk.idle:
            self.should_exit = True
        return await super().on_tick(counter)


def listening(host: str, port: int) -> socket.socket:
    """A socket on which the server listens.

    Raises:
        UsageError: the port is taken, or the address is none of this machine.
    """
    found = None
    if port > 65535:  # getaddrinfo takes the rest of a division
        raise UsageError(f"there is no port {port}; the largest is 65535")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        found = socket.socket(family, kind, protocol)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(address)
        found.listen(1024)
    except (OSError, OverflowError) as error:
        if found is not None:
            found.close()
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise UsageError(f"cannot listen on {host} port {port}: {reason}; --port 0 takes one that is free") from error
    return found


def desk_of(weights: str | None, device: str | None, limits: Limits) -> Desk:
    """The desk with its weights.

    Raises:
        UsageError: they cannot be used.
    """
    try:
        sure = ConformerGenerator.from_pretrained(SHIPPED if weights is None else weights, device=device)
        unsure = ConformerGenerator(sure.denoiser, sure.card, device=device, confidence=False)
    except (WeightsError, ValueError, OSError) as error:
        raise UsageError(str(error)) from error
    return Desk({True: sure, False: unsure}, limits, Counts())


def serve(host: str, port: int, weights: str | None, device: str | None, limits: Limits) -> None:
    """Serve until told to end (SIGTERM, Ctrl-C)."""
    with listening(host, port) as listener:  # before the weights, which take seconds
        desk = desk_of(weights, device, limits)
        hosts = LOCAL if host in (*LOCAL, "::1") else ("*",)
        config = uvicorn.Config(
            make_app(desk, hosts),
            log_level="warning",
            timeout_graceful_shutdown=10,
            timeout_keep_alive=75,  # beyond what clients wait between two requests, who would meet a closed connection
            server_header=False,
        )
        address = f"[{host}]" if ":" in host else host
        say(f"http://{address}:{listener.getsockname()[1]}: ready (Ctrl-C ends)")
        if hosts == ("*",):
            say("whoever reaches this machine can use it: there are no passwords and no encryption")
        Server(config, desk).run(sockets=[listener])
