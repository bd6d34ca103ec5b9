"""Signals a supervisor wants sent: receivers are user code, so a child does it."""

from collections import deque
from typing import Any

from . import wire
from .dispatcher import Dispatcher


class Herald:
    """Hands signals to a child that is ready; keeps them while there is none."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        """Know the children by their dispatcher."""
        self._dispatcher = dispatcher
        self._untold: deque[tuple[str, dict[str, Any]]] = deque(maxlen=1_000)

    def tell(self, name: str, **values: Any) -> None:
        """Have the signal of that name sent with these plain values."""
        for link in self._dispatcher.links:
            if link.ready:
                try:
                    link.wire.send(wire.EVENT, (name, values))
                except OSError:
                    continue
                return
        self._untold.append((name, values))

    def tell_the_untold(self) -> None:
        """Try again what no child could send."""
        for _ in range(len(self._untold)):
            name, values = self._untold.popleft()
            self.tell(name, **values)
