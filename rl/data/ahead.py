"""Decodes and resizes images ahead of the engines, so that an engine never waits for a picture.

Decoding a large photograph takes longer than the engine takes to start on it. Here other processes
do it while the engine works, for at most `look_ahead` samples at a time.
"""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from rl.child import Child
from rl.core import ImageSource, OnRefused, Sample
from rl.data.decode import DecodeTask, Form, check, decode
from rl.data.images import image_size
from rl.errors import DataError

# (width, height) -> the size to which the model's processor would resize such an image; None leaves
# the resizing to the processor.
Resize = Callable[[int, int], tuple[int, int] | None]

_LOOK_AHEAD = 192  # samples
_KEPT = 64  # decoded images that are kept for the next question about them
_SMALL = 128 * 128  # pixels: to decode so few is cheaper than to send them to another process
_DEADLINE_S = 60.0


class ImageAhead:
    """Replaces the images of samples by decoded ones with the same pixels, ahead of the engines.

        with ImageAhead(spec.resized, processes=2) as ahead:
            for sample in ahead.samples(samples):  # in order; waits until its images are ready
                engine.add(sample)

    `resize` is the processor's own rule (`ModelSpec.resized`). `processes=0` does everything in
    this process. Small images are always handled in this process; the others start with the first
    large image and live until `close`.
    """

    def __init__(
        self,
        resize: Resize | None = None,
        *,
        processes: int = 2,
        form: Form = "raw",
        look_ahead: int = _LOOK_AHEAD,
    ) -> None:
        self._resize, self._form, self._look_ahead = resize, form, look_ahead
        self._num_processes = processes
        self._threads: ThreadPoolExecutor | None = None
        self._children: list[_Child] = []
        self._own = threading.local()

    def __enter__(self) -> ImageAhead:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the processes."""
        threads, self._threads = self._threads, None
        if threads is None:
            return
        threads.shutdown(wait=False, cancel_futures=True)
        for child in list(self._children):
            child.close()
        threads.shutdown(wait=True)
        self._children.clear()
        self._own = threading.local()

    def samples(
        self,
        samples: Iterable[Sample],
        *,
        thumbnails: Path | None = None,
        on_error: OnRefused | None = None,
    ) -> Iterator[Sample]:
        """The samples in their order, each when its images are ready.

        At most `look_ahead` samples are prepared at a time. A sample whose image cannot be decoded
        is left out and reported as `on_error(sample, reason)`. Raises: DataError in that case
        without `on_error`.
        """
        waiting: deque[tuple[Sample, list[Future[ImageSource]]]] = deque()
        kept: OrderedDict[str, Future[ImageSource]] = OrderedDict()
        source, is_open = iter(samples), True
        while is_open or waiting:
            while is_open and len(waiting) < self._look_ahead:
                sample = next(source, None)
                if sample is None:
                    is_open = False
                    break
                futures = [self._ready(image, kept, thumbnails) for image in sample.images]
                waiting.append((sample, futures))
                if not self._is_ahead(waiting):
                    break
            if not waiting:
                return
            sample, futures = waiting.popleft()
            try:
                images = tuple(future.result() for future in futures)
            except DataError as error:
                if on_error is None:
                    raise
                on_error(sample, error.line())
                continue
            yield sample if images == sample.images else replace(sample, images=images)

    @staticmethod
    def _is_ahead(waiting: deque[tuple[Sample, list[Future[ImageSource]]]]) -> bool:
        """Whether to take another sample before the first is handed over: only while another
        process is still decoding. Otherwise the engine would wait for nothing.
        """
        return not all(future.done() for _, futures in waiting for future in futures)

    def _ready(
        self,
        image: ImageSource,
        kept: OrderedDict[str, Future[ImageSource]],
        thumbnails: Path | None,
    ) -> Future[ImageSource]:
        try:
            key = image.sha256
        except OSError:
            key = ""  # the file is missing: whatever opens it next reports that
        if key in kept:
            kept.move_to_end(key)
            return kept[key]
        future = self._start(image, key, thumbnails)
        kept[key] = future
        while len(kept) > _KEPT:
            kept.popitem(last=False)
        return future

    def _start(self, image: ImageSource, key: str, thumbnails: Path | None) -> Future[ImageSource]:
        done: Future[ImageSource] = Future()
        try:
            width, height = image_size(image)
            thumbnail = thumbnails / f"{key}.png" if thumbnails is not None else None
            size = self._resize(width, height) if self._resize is not None else None
            task = DecodeTask(image, size, self._form, thumbnail)
            is_small = width * height <= _SMALL
            if is_small and self._form == "raw":
                done.set_result(check(task))
            elif is_small or self._num_processes == 0:
                done.set_result(decode(task))
            else:
                return self._pool().submit(self._elsewhere, task)
        except DataError as error:
            done.set_exception(error)
        return done

    def _pool(self) -> ThreadPoolExecutor:
        if self._threads is None:
            self._threads = ThreadPoolExecutor(self._num_processes, "images-ahead")
        return self._threads

    def _elsewhere(self, task: DecodeTask) -> ImageSource:
        """Decodes in this thread's own process; where that process was lost, once more in a new
        one.
        """
        for is_last in (False, True):
            child = getattr(self._own, "child", None)
            if child is None:
                child = self._own.child = _Child()
                self._children.append(child)
            try:
                return child.decode(task)
            except (EOFError, ConnectionError, TimeoutError) as error:
                child.close()
                self._children.remove(child)
                self._own.child = None
                if is_last or isinstance(error, TimeoutError) or self._threads is None:
                    raise DataError(
                        f"the process that decodes it {str(error) or 'was lost'}",
                        where=task.source.path or "an image given as bytes",
                        do="try again; if it is lost again, look at the free memory and the image",
                    ) from error
        raise AssertionError


class _Child(Child):
    """A process that decodes."""

    def __init__(self) -> None:
        super().__init__("rl.data.decode:serve", {"OMP_NUM_THREADS": "1"})

    def decode(self, task: DecodeTask) -> ImageSource:
        """The decoded image. Raises: DataError; OSError where a thumbnail cannot be written;
        EOFError, ConnectionError or TimeoutError where the process fails.
        """
        self.pipe.send(task)
        if not self.pipe.poll(_DEADLINE_S):
            raise TimeoutError(f"gave no answer within {_DEADLINE_S:g} s")
        answer = self.pipe.recv()
        if isinstance(answer, Exception):
            raise answer
        assert isinstance(answer, ImageSource)
        return answer
