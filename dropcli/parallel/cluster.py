"""The workers of a running Dask cluster. This module never starts a cluster."""

import asyncio
import json
import logging
import os
import pickle
import time
from collections.abc import Iterator
from concurrent.futures import wait
from contextlib import contextmanager, suppress
from typing import Any

from dropcli.errors import DropcliError, FileError, needing
from dropcli.parallel.futures import Pool, call_elsewhere, missing_elsewhere

_WORKERS = "60s"  # to wait for a worker, unless Dask's configuration says otherwise
_ANSWER = 10.0  # seconds for workers to return their version
_LOOK = 2.0  # seconds between checks of the workers
_CLOSE = 1  # seconds to close the connection


class Cluster(Pool):
    """The workers of a Dask scheduler."""

    def __init__(self, client: Any, address: str) -> None:
        from dask import config
        from dask.utils import parse_timedelta

        super().__init__(client.get_executor(pure=False))
        self._patience = float(parse_timedelta(config.get("dropcli.wait", _WORKERS)))
        self._client = client
        self._address = address
        self._slots = 0
        self._seen = self._looked = 0.0

    @property
    def slots(self) -> int:
        return self._slots

    def check(self) -> None:
        now = time.monotonic()
        if self._client.status != "running":
            raise self.lost()
        if now - self._looked < _LOOK:
            return
        self._looked = now
        with suppress(OSError):  # a late answer; if the connection is lost, it is reported soon
            self._slots = sum(self._threads().values())
        if self._slots:
            self._seen = now
        elif now - self._seen > self._patience:
            message = (
                f"the cluster at {self._address} has had no worker for {self._patience:.0f} seconds"
            )
            raise FileError("no-workers", message, "start workers, then continue with --resume")

    def lost(self) -> DropcliError:
        return FileError(
            "scheduler-lost",
            f"the connection to the scheduler at {self._address} is lost",
            "start it again, then continue with --resume",
        )

    def begin(self) -> None:
        """Wait for a worker, and compare versions.

        Raises:
            FileError: there are no workers, or one has another version of dropcli.
        """
        try:
            self._client.wait_for_workers(1, timeout=self._patience)
        except TimeoutError as error:
            message = f"the cluster at {self._address} has no workers"
            hint = f"dask worker {self._address} --nthreads 1 --nworkers auto"
            raise FileError("no-workers", message, hint) from error
        # Not with `client.run`, which waits half a minute for a worker that has just died.
        call = call_elsewhere(os.getpid)
        asked = {
            self._client.get_executor(pure=False, workers=[worker]).submit(
                pickle.loads, call
            ): worker
            for worker in self._threads()
        }
        answers, late = wait(asked, _ANSWER)
        for future in late:  # the worker is busy; its first files check the version again
            future.cancel()
        for future in answers:
            failure = None if future.cancelled() else future.exception()
            if isinstance(failure, ModuleNotFoundError):
                raise missing_elsewhere(f"the worker at {asked[future]}")
            if isinstance(failure, DropcliError):
                raise failure
        self._seen = time.monotonic()
        self.check()

    def _threads(self) -> dict[str, int]:
        """The number of threads of each worker by address. Raises OSError if the answer is late."""
        found: dict[str, int] = self._client.sync(
            self._client.scheduler.ncores, callback_timeout=_LOOK
        )
        return found


@contextmanager
def connected(place: str) -> Iterator[Cluster]:
    """The cluster of a scheduler, given by its address or its scheduler file."""
    with needing("distributed", "dask"):
        from distributed import Client
    _silence()
    try:
        address = _address(place)
        asyncio.run(_greet(address))
        client = Client(address, set_as_default=False, name="dropcli")
    except OSError as error:
        raise _no_scheduler(f"no scheduler answers at {place}") from error
    try:
        cluster = Cluster(client, place)
        try:
            cluster.begin()
        except OSError as error:
            raise cluster.lost() from error
        yield cluster
    finally:
        with suppress(Exception):  # the scheduler may be gone, and all work is done or reported
            client.close(timeout=_CLOSE)


def _address(place: str) -> str:
    """The address of the scheduler, which `place` is or which the file at `place` holds."""
    from distributed.comm import parse_address

    try:
        address = place
        if os.path.exists(place):
            with open(place, "rb") as file:
                address = json.load(file)["address"]
        parse_address(address)
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise _no_scheduler(f"{place} is not the address or the file of a scheduler") from error
    return address


async def _greet(address: str) -> None:
    """Connect to the scheduler once, because a client that cannot start prints a traceback."""
    from distributed.comm import connect
    from distributed.security import Security

    try:
        comm = await connect(address, **Security().get_connection_args("client"))
    except OSError:
        raise
    except Exception as error:  # each protocol has its own for addresses and certificates
        problem = str(error).splitlines()[0]
        raise _no_scheduler(f"{address} cannot be used: {problem}") from error
    await comm.close()


def _no_scheduler(problem: str) -> FileError:
    hint = "`dask scheduler` shows its address, such as tcp://host:8786"
    return FileError("no-scheduler", f"--scheduler: {problem}", hint)


def _silence() -> None:
    """Silence Dask's warnings, which would be mixed with the messages of the command."""
    for name in list(logging.root.manager.loggerDict):
        if name.partition(".")[0] in ("distributed", "tornado", "asyncio"):
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)
