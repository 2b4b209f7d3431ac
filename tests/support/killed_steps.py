"""A process that kills itself before one of its own steps: system calls that change files."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from typing import Any


def count_steps(names: Sequence[str], killed_at: int | None, steps: Any) -> None:
    """Count the calls of these functions of `os` from now on, in `steps` if it is not None.

    With `killed_at`, this process sends itself SIGKILL before that call.
    """
    taken = 0

    def counted(step: Callable[..., Any]) -> Callable[..., Any]:
        def take(*arguments: Any, **options: Any) -> Any:
            nonlocal taken
            taken += 1
            if steps is not None:
                steps.value = taken
            if taken == killed_at:
                os.kill(os.getpid(), signal.SIGKILL)
            return step(*arguments, **options)

        return take

    for name in names:
        setattr(os, name, counted(getattr(os, name)))
