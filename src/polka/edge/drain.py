"""A process that was told to stop goes on serving for a while."""

from dataclasses import dataclass


@dataclass
class Drain:
    """How long a process that was told to stop goes on serving, so that its clients go elsewhere first.

    While it lasts, the process is not ready, and ends each connection with its next answer.
    """

    seconds: float
    has_begun: bool = False
