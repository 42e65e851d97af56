"""Every run of so many neighbours in a signal, as a view."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_T = TypeVar("_T", bound=np.generic)


def windows(line: NDArray[_T], size: int) -> NDArray[_T]:
    """Shape (len(line) - size + 1, size); row n begins at sample n. Not to be written to.

    What numpy's sliding_window_view gives of a contiguous line of at least `size`. That one goes through
    `__array_interface__`, whose strings fill CPython's table of interned ones: 50 times a second the table is
    rebuilt every few minutes, 2 MB that the heap does not give back.
    """
    return np.ndarray((len(line) - size + 1, size), line.dtype, line, 0, line.strides * 2)
