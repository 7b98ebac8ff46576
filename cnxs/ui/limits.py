"""What one client may ask for in a while. Everything above is refused with a sentence."""

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from gradio.context import LocalContext

from cnxs.errors import InputError
from cnxs.protocol import Backend, ControlMap
from cnxs.request import GenerationRequest
from cnxs.ui.owners import client_of

MINUTE = 60.0
MAX_CLIENTS = 10_000  # remembered; above, those that asked longest ago are forgotten


@dataclass(frozen=True, kw_only=True)
class ClientLimits:
    """Of one client: a logged-in user, or an address."""

    jobs_per_minute: int = 240  # live frames count
    maps_per_minute: int = 1200
    waiting_jobs: int = 16  # waiting or running, of all browsers at the address


class Rate:
    """So many uses per minute for each client.

    Args:
        maximum: uses within any minute.
        now: tells the time in seconds.
    """

    def __init__(self, maximum: int, *, now: Callable[[], float] = time.monotonic) -> None:
        self._maximum, self._now = maximum, now
        self._uses: dict[str, deque[float]] = {}  # by client, the one that asked last at the end
        self._lock = threading.Lock()

    def use(self, client: str) -> float:
        """Count a use; return 0, or, if there were too many, the seconds until the next is possible."""
        now = self._now()
        with self._lock:
            uses = self._uses.pop(client, deque())
            self._uses[client] = uses
            while len(self._uses) > MAX_CLIENTS:
                del self._uses[next(iter(self._uses))]
            while uses and uses[0] <= now - MINUTE:
                uses.popleft()
            if len(uses) >= self._maximum:
                return uses[0] + MINUTE - now if uses else MINUTE
            uses.append(now)
            return 0.0


class Limited:
    """A backend that takes no more from a client than `limits` allow; everything else goes through."""

    def __init__(self, backend: Backend, limits: ClientLimits) -> None:
        self._backend, self._limits = backend, limits
        self._jobs, self._maps = Rate(limits.jobs_per_minute), Rate(limits.maps_per_minute)
        self._owners: dict[str, set[str]] = {}
        self._lock = threading.Lock()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def submit(self, request: GenerationRequest, owner: str) -> str:
        """Queue a request, if its client has not asked for too much."""
        client = client_of(LocalContext.request.get(None))
        _refuse(self._jobs.use(client), maximum=self._limits.jobs_per_minute)
        if not request.live:  # live frames take each other's place
            self._check_waiting(client, owner)
        return self._backend.submit(request, owner)

    def control_map(self, source_id: str, **drawn: Any) -> ControlMap:
        """Draw a map, if its client has not asked for too many. Arguments as those of the backend."""
        client = client_of(LocalContext.request.get(None))
        _refuse(self._maps.use(client), maximum=self._limits.maps_per_minute)
        return self._backend.control_map(source_id, **drawn)

    def _check_waiting(self, client: str, owner: str) -> None:
        with self._lock:
            known = self._owners.setdefault(client, set())
            known.add(owner)
            while len(self._owners) > MAX_CLIENTS:
                del self._owners[next(iter(self._owners))]
            owners = list(known)
        at_work = {one: sum(info.state in ("queued", "running") for info in self._backend.jobs(one)) for one in owners}
        with self._lock:
            known -= {one for one, count in at_work.items() if not count and one != owner}
        if (count := sum(at_work.values())) >= self._limits.waiting_jobs:
            raise InputError("too_many_jobs", given=count, maximum=self._limits.waiting_jobs)


def limited(backend: Backend, limits: ClientLimits) -> Backend:
    """Return the backend with limits for each client."""
    return cast("Backend", Limited(backend, limits))


def _refuse(wait: float, *, maximum: int) -> None:
    if wait:
        raise InputError("too_fast", maximum=maximum, seconds=max(1, round(wait)))
