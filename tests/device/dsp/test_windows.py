import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from device.dsp.windows import windows


def test_it_gives_what_numpys_gives() -> None:
    for kind in (np.float32, np.int16):
        line = np.arange(50, dtype=kind)
        assert np.array_equal(windows(line, 7), sliding_window_view(line, 7))
        assert np.array_equal(windows(line[10:], 40), sliding_window_view(line[10:], 40))


def test_it_copies_nothing() -> None:
    line = np.zeros(20)
    view = windows(line, 5)
    line[19] = 1
    assert view[-1, -1] == 1
