"""Threads, and processes that are spawned or forked."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numpy.typing import NDArray

import candle_deeplab as cd

Photo = NDArray[np.uint8]

# Longer than any child takes on a slow machine.
TIMEOUT = 120

forks = pytest.mark.skipif(not hasattr(os, "fork") or sys.platform == "darwin", reason="processes are not forked here")
# Python warns of forks while there are threads, which is what is tested.
quiet = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


def segmented(model: cd.Model, image: Photo) -> Photo:
    """What a child does."""
    return model.segment(image).ids


@pytest.mark.parametrize("method", [pytest.param("fork", marks=[forks, quiet]), "spawn"])
def test_children_segment_after_their_parent_has(model: cd.Model, photo: Photo, method: str) -> None:
    images = [photo[:, : 200 + 10 * i] for i in range(4)]
    expected = [segmented(model, image) for image in images]
    # The model goes through a pickle, and is loaded again by each child.
    with multiprocessing.get_context(method).Pool(2) as pool:
        found = pool.starmap_async(segmented, [(model, image) for image in images]).get(TIMEOUT)
    for ours, theirs in zip(found, expected, strict=True):
        assert np.array_equal(ours, theirs)


def in_child(work: Callable[[], bool]) -> int:
    """Forks, and returns the child's number. The child ends with 0 if the work is right."""
    child = os.fork()
    if child == 0:
        code = 2
        try:
            code = 0 if work() else 1
        finally:
            os._exit(code)
    return child


def end_of(child: int) -> int:
    """The exit code of a child, which must not hang."""
    deadline = time.monotonic() + TIMEOUT
    while time.monotonic() < deadline:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    raise AssertionError("the child hangs")


@forks
@quiet
def test_a_forked_child_uses_its_parents_model(model: cd.Model, photo: Photo) -> None:
    expected = segmented(model, photo)

    def works() -> bool:
        # It draws and loads, too, and its own child does the same.
        loaded = cd.load(threads=1)
        right = all(np.array_equal(segmented(each, photo), expected) for each in (model, loaded))
        return right and bool(model.segment(photo).overlay().any()) and end_of(in_child(grandchild)) == 0

    def grandchild() -> bool:
        return np.array_equal(segmented(model, photo), expected)

    assert end_of(in_child(works)) == 0
    assert np.array_equal(segmented(model, photo), expected)


@forks
@quiet
def test_forks_while_other_threads_segment(model: cd.Model, photo: Photo) -> None:
    expected, stop = segmented(model, photo), threading.Event()
    other = cd.load(threads=1)

    def busy(model: cd.Model) -> int:
        count = 0
        while not stop.is_set():
            assert np.array_equal(segmented(model, photo), expected)
            count += 1
        return count

    with ThreadPoolExecutor() as threads:
        busy_threads = [threads.submit(busy, model), threads.submit(busy, model), threads.submit(busy, other)]
        try:
            for _ in range(10):
                assert end_of(in_child(lambda: np.array_equal(segmented(model, photo), expected))) == 0
        finally:
            stop.set()
        assert all(thread.result(TIMEOUT) > 0 for thread in busy_threads)


@forks
@quiet
def test_threads_fork_at_the_same_time(model: cd.Model, photo: Photo) -> None:
    expected = segmented(model, photo)

    def fork(_: int) -> int:
        return end_of(in_child(lambda: np.array_equal(segmented(model, photo), expected)))

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(fork, range(8), timeout=TIMEOUT)) == [0] * 8


def test_two_models_in_two_threads(photo: Photo) -> None:
    models = [cd.load(threads=1), cd.load(threads=2), cd.load(output_stride=8), cd.load()]
    images = [photo, photo[::2], photo[:, ::-1]]
    expected = [[segmented(model, image) for image in images] for model in models]

    def work(model: cd.Model) -> list[Photo]:
        return [seg.ids for seg in model.segment(images)]

    with ThreadPoolExecutor(len(models)) as threads:
        for found, right in zip(threads.map(work, models, timeout=TIMEOUT), expected, strict=True):
            assert all(np.array_equal(a, b) for a, b in zip(found, right, strict=True))


def test_one_model_in_many_threads(model: cd.Model, photo: Photo) -> None:
    images = [photo[: 100 + 20 * i] for i in range(16)]
    expected = [segmented(model, image) for image in images]
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda image: segmented(model, image), images, timeout=TIMEOUT))
    assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))


@pytest.mark.skipif(sys.platform != "linux", reason="memory is counted by the files of Linux")
def test_many_threads_take_no_more_memory_than_a_few() -> None:
    """Images that wait are not begun: each takes as much memory as the network."""
    script = """
import sys
import numpy as np
from concurrent.futures import ThreadPoolExecutor
import candle_deeplab as cd

model, image, count = cd.load(threads=2), np.zeros((513, 513, 3), np.uint8), int(sys.argv[1])
with ThreadPoolExecutor(count) as threads:
    list(threads.map(model.segment, [image] * count))
print(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])
"""

    def peak(count: int) -> int:
        command = [sys.executable, "-c", script, str(count)]
        return int(subprocess.run(command, check=True, capture_output=True, text=True, timeout=TIMEOUT).stdout)

    # An image and its segmentation are 2 MB.
    assert peak(32) - peak(4) < 28 * 2_500


def test_python_runs_while_an_image_is_segmented(photo: Photo) -> None:
    model, ticks, done = cd.load(tile=257, overlap=128), 0, threading.Event()

    def work() -> None:
        model.segment([photo] * 20)
        done.set()

    thread = threading.Thread(target=work)
    thread.start()
    while not done.wait(0.001):
        ticks += 1
    thread.join()
    # With the interpreter's lock held, this thread could not have counted.
    assert ticks > 5
