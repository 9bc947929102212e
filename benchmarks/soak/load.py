"""What goes on all the while beside the faults: predictions, scrapes, looks at the volume."""

import threading
from collections.abc import Callable


class Load:
    """Works on threads of its own until it is stopped. One that breaks down is a trouble, and never goes unseen.

    Args:
        works: What each thread does, for as long as `goes_on` says so.
    """

    def __init__(self, *works: Callable[[], None]) -> None:
        self.troubles: list[str] = []
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._carry_out, args=[work]) for work in works]

    def start(self) -> None:
        """Starts all threads."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Waits until all have ended. May be called again."""
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def goes_on(self, seconds: float) -> bool:
        """Waits so many seconds; returns False, at once, when it is to stop."""
        return not self._stopping.wait(seconds)

    def _carry_out(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:  # the outer edge of a thread, of which nobody else would hear
            self.troubles.append(f"{type(self).__name__} broke down: {error!r}")
