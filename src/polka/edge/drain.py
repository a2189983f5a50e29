"""A process that was told to stop serves for a while longer."""

from dataclasses import dataclass


@dataclass
class Drain:
    """The time for which a stopping process still serves, so that its clients move to other processes first.

    During the drain the process is not ready, and ends each connection with its next answer.
    """

    seconds: float
    has_begun: bool = False
