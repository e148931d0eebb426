"""How a service's process lives and ends: SIGTERM and SIGINT end it in order, with exit code 0."""

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

_ENDING = (signal.SIGTERM, signal.SIGINT)


def leave_on_sigterm() -> None:
    """Until the event loop takes over: SIGTERM ends the process with 0, also as PID 1, which has no default action."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))


def run_server(serve: Callable[[asyncio.Event], Coroutine[Any, Any, None]]) -> int:
    """Runs `serve(stop)`; a signal sets `stop`. Returns the exit code."""

    async def main() -> int:
        stop = asyncio.Event()
        _on_signal(stop.set)
        await serve(stop)
        return 0

    return _run(main())


def run_client(work: Coroutine[Any, Any, int]) -> int:
    """Runs `work`, which returns the exit code; a signal cancels it, and the exit code is 0."""

    async def main() -> int:
        task = asyncio.ensure_future(work)
        _on_signal(task.cancel)
        with suppress(asyncio.CancelledError):
            return await task
        return 0

    return _run(main())


def _on_signal(end: Callable[[], object]) -> None:
    for number in _ENDING:
        asyncio.get_running_loop().add_signal_handler(number, end)


def _run(main: Coroutine[Any, Any, int]) -> int:
    runner = asyncio.Runner()
    code = runner.run(main)
    if threading.active_count() > 1:
        # A getaddrinfo cannot be cancelled, and closing the loop would wait for its thread.
        sys.stdout.flush()
        os._exit(code)
    runner.close()
    return code
