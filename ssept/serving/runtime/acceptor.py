"""The acceptor of a worker: it leaves new connections to the workers that have fewer.

All workers accept from one listening socket. The kernel wakes all of them for a connection, and the
first to run has it: without this, one worker may have all of a few connections that stay open.
"""

import asyncio
import contextlib
import select
import socket
import struct
from collections.abc import Callable

from ssept.serving.core.worker_memory import WorkerMemory
from ssept.serving.runtime.open_connections import OpenConnections
from ssept.serving.runtime.sockets import readable

PATIENCE_SECONDS = 0.005  # for a worker that is busy or suspended, while connections wait for it
# Of tcp_info in linux/tcp.h, tcpi_unacked: how many connections wait at a listening socket.
QUEUE = struct.Struct("24xI")


class Acceptor:
    """Accepts connections while no other worker has fewer, and what others leave for too long.

    Attributes:
        connections: those of this worker, and the numbers of the others.
    """

    def __init__(self, memory: WorkerMemory) -> None:
        """Prepare it; all workers take from their memory in the same order."""
        self.connections = OpenConnections(memory, self._look_again)
        self._takes_all = False
        self._opening: set[asyncio.Task[object]] = set()  # the loop itself keeps no hold of them
        self._timer: asyncio.TimerHandle | None = None  # while connections may wait

    def start(
        self, listener: socket.socket, backlog: int, make: Callable[[], asyncio.Protocol]
    ) -> None:
        """Listen, and accept from now on; `make` makes the protocol of a connection."""
        self._loop = asyncio.get_running_loop()
        self._listener, self._make = listener, make
        listener.setblocking(False)
        listener.listen(backlog)
        # Edge-triggered: else the loop would spin while a connection waits for another worker.
        self._arrivals = select.epoll()
        self._arrivals.register(listener, select.EPOLLIN | select.EPOLLET)
        self._loop.add_reader(self._arrivals, self._arrive)
        self.connections.share(True)

    def take_all(self) -> None:
        """Accept whatever comes until the end; the others leave nothing to this worker any more."""
        self.connections.share(False)
        self._takes_all = True
        self._accept()

    def close(self) -> None:
        """Accept no more."""
        if self._timer:
            self._timer.cancel()
            self._timer = None
        self._loop.remove_reader(self._arrivals)
        self._arrivals.close()

    def _arrive(self) -> None:
        self._arrivals.poll(0)
        self._accept()

    def _accept(self, due: int = 0) -> None:
        """Accept connections: `due` of them in any case, more while no other worker has fewer."""
        while waiting := self._waiting():
            if due <= 0 and not self._takes_all and self.connections.lacking() >= waiting:
                self._look_later(waiting)
                return
            try:
                connection, _ = self._listener.accept()
            except OSError:  # another worker was quicker, the client has gone, or no file is free
                self._look_later(0)
                return
            due -= 1
            self.connections.count_accepted()
            opening = self._loop.connect_accepted_socket(self._make, connection)
            task: asyncio.Task[object] = self._loop.create_task(opening)
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    def _waiting(self) -> int:
        """Return how many connections wait to be accepted; 1 if it is only known that some do."""
        count = 0
        with contextlib.suppress(OSError):  # a sandbox may refuse it
            info = self._listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, QUEUE.size)
            (count,) = QUEUE.unpack(info)
        return count or int(readable(self._listener))

    def _look_later(self, left: int) -> None:
        """Look after the connections that are left to others, once these have had their time."""
        if self._timer is None:
            after = self.connections.accepted() + left
            self._timer = self._loop.call_later(PATIENCE_SECONDS, self._look, after)

    def _look(self, after: int) -> None:
        """Accept all that wait, unless those that were left have been accepted."""
        self._timer = None
        self._accept(0 if self.connections.accepted() >= after else self._waiting())

    def _look_again(self) -> None:
        """Look whether what was left to others is for this worker, which has fewer now."""
        if self._timer:
            self._accept()
