"""PyTorch: an iterable dataset over the samples of a release. Works without torch as well, as a plain iterable.

Samples are the files of one folder that have a basename in common up to its first dot, as in WebDataset: `0001.jpg` and
`0001.cls` are one sample: a dict of extension to bytes, with `__key__`, and the release's own columns as `__labels__`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from itertools import groupby
from typing import Any

from lading.client.reader import FileInfo, Reader
from lading.client.selection import Selection
from lading.settings import Settings

try:
    import torch  # type: ignore[import-not-found]
    from torch.utils.data import IterableDataset as _Base  # type: ignore[import-not-found]
    from torch.utils.data import get_worker_info as _worker_info

    def _shared_numbers(count: int) -> Any:
        """Integers, 0 at first, that a process and the workers which it starts see alike."""
        return torch.zeros(count, dtype=torch.int64).share_memory_()

except ImportError:  # torch is the caller's choice: without it, this is an iterable of samples
    _Base = object

    def _worker_info() -> Any:
        """Nothing is parallel without torch."""
        return None

    def _shared_numbers(count: int) -> Any:
        """Nobody to share them with."""
        return [0] * count


class SampleDataset(_Base):  # type: ignore[misc]
    """Samples of `DATASET[@VERSION]`, by path or shuffled by `seed` and epoch. The list of files is held in memory.

    where, include   narrow the files, as in `lading.files`
    shuffle          runs of `buffer` samples, and the samples in each
    transform        is given each sample
    rank, world      of several processes of a training, each gets its own samples; workers of a DataLoader split these

    Call `set_epoch` before each epoch where a DataLoader has workers: what they read leaves this process's state alone.
    `state_dict` and `load_state_dict` go on within an epoch, in one process (num_workers=0); with workers, torchdata's
    StatefulDataLoader calls them in each.
    """

    def __init__(
        self,
        reference: str,
        *,
        where: str | None = None,
        include: tuple[str, ...] = (),
        shuffle: bool = False,
        seed: int = 0,
        buffer: int = 1000,
        transform: Callable[[dict[str, Any]], Any] | None = None,
        rank: int = 0,
        world: int = 1,
        settings: Settings | None = None,
    ) -> None:
        self._selection = Selection(include=include, where=where)
        self._options = (shuffle, seed, buffer)
        self._transform = transform
        self._rank, self._world = rank, world
        self._settings = settings or Settings.from_env()
        self._epoch = 0
        self._given = 0
        # How often set_epoch was called, and the epoch that it named last: persistent workers see it there.
        self._asked = _shared_numbers(2)
        self._heeded = 0
        with Reader(reference, self._settings) as reader:
            # Workers are to read the same release, wherever `latest` moves meanwhile.
            self.release = reader.name

    def set_epoch(self, epoch: int) -> None:
        """Shuffle by this epoch from the next iteration on, and begin at its first sample, in workers as well."""
        self._asked[1] = epoch
        self._asked[0] += 1
        self._heed()

    def state_dict(self) -> dict[str, Any]:
        """Where the iteration stands: release, epoch, and samples given in it."""
        return {"release": self.release, "epoch": self._epoch, "given": self._given}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on there. Raises ValueError for the state of another release."""
        if state["release"] != self.release:
            raise ValueError(f"the state is of {state['release']}, not of {self.release}")
        self._epoch, self._given = int(state["epoch"]), int(state["given"])
        self._heeded = int(self._asked[0])

    def __iter__(self) -> Iterator[Any]:
        """Samples of this process or worker, from where the state stands; at the end, the next epoch begins."""
        self._heed()
        worker = _worker_info()
        part = self._rank * (worker.num_workers if worker else 1) + (worker.id if worker else 0)
        parts = self._world * (worker.num_workers if worker else 1)
        with Reader(self.release, self._settings) as reader:
            samples = list(self._samples(reader))
            order = _order(len(samples), *self._options, self._epoch, part, parts)
            for number in order[self._given :]:
                key, files = samples[number]
                sample: dict[str, Any] = {"__key__": key, "__labels__": files[0].labels}
                for info in files:
                    with reader.open(info.path) as file:
                        sample[_split(info.path)[1]] = file.readall()
                self._given += 1
                yield self._transform(sample) if self._transform else sample
        self._epoch, self._given = self._epoch + 1, 0

    def _heed(self) -> None:
        """Begin the epoch that set_epoch named, if it was called since, maybe in the process of this worker."""
        calls, epoch = (int(number) for number in self._asked)
        if calls != self._heeded:
            self._heeded, self._epoch, self._given = calls, epoch, 0

    def _samples(self, reader: Reader) -> Iterator[tuple[str, list[FileInfo]]]:
        found = (info for info in reader.files(self._selection) if info.type == "file")
        for key, files in groupby(found, key=lambda info: _split(info.path)[0]):
            yield key, list(files)


def _split(path: str) -> tuple[str, str]:
    """A path without the extensions of its name, and these."""
    folder, slash, name = path.rpartition("/")
    stem, _, extension = name.partition(".")
    return folder + slash + stem, extension


def _order(count: int, shuffle: bool, seed: int, buffer: int, epoch: int, part: int, parts: int) -> list[int]:
    """Numbers of the samples of one part of several, in the order of an epoch.

    Parts take whole runs of samples, and a run is shuffled in itself: neighbours lie in one frame, fetched once.
    """
    size = max(1, min(buffer, -(-count // parts)))
    runs = [list(range(start, min(start + size, count))) for start in range(0, count, size)]
    chosen = random.Random(f"{seed}/{epoch}")  # noqa: S311 - an order, not a secret
    if shuffle:
        chosen.shuffle(runs)
    mine = runs[part::parts]
    if shuffle:
        for run in mine:
            chosen.shuffle(run)
    return [number for run in mine for number in run]
