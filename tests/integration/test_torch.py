"""Samples of a release in the real PyTorch: workers of a DataLoader, shuffling, and going on where an epoch stood."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from collections.abc import Callable
from typing import Any

import pytest
from running_stack import RunningStack

pytestmark = pytest.mark.slow

SAMPLES = 60

PRELUDE = """
import json, site, sys
site.addsitedir(sys.argv[1])  # behind what is installed here
from torch.utils.data import DataLoader, IterableDataset
from torchdata.stateful_dataloader import StatefulDataLoader
from lading.torch import SampleDataset

def samples(**options):
    return SampleDataset("samples@v1", **{"shuffle": True, "buffer": 4, "seed": 7, **options})

def loader(dataset, kind=DataLoader, workers=2, **options):
    return kind(dataset, batch_size=None, num_workers=workers, **options)

def keys(given):
    return [sample["__key__"] for sample in given]

def main():
"""


ENDING = """
if __name__ == "__main__":
    print(json.dumps(main()))
"""


@pytest.fixture(scope="module")
def released(stack: RunningStack, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Sixty samples of two files, in three folders; the keys of all of them."""
    from flows.release import release

    root = tmp_path_factory.mktemp("samples") / "source"
    names = [f"{'abc'[number % 3]}/{number:03d}" for number in range(SAMPLES)]
    for number, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / f"{name}.txt").write_bytes(b"text of %d " % number * 500)
        (root / f"{name}.cls").write_text(str(number))
    release(source=str(root), dataset="samples", version="v1", smoke=False)
    return sorted(names)


@pytest.fixture
def run(stack: RunningStack, released: list[str], torch_packages: str) -> Callable[[str], Any]:
    """Run the body of a program in a process of its own, where torch can be imported; what it returns."""

    def call(body: str) -> Any:
        program = PRELUDE + textwrap.indent(body, "    ") + ENDING
        done = subprocess.run(
            [sys.executable, "-c", program, torch_packages],
            env=stack.environment,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return call


def test_two_workers_give_every_sample_once(run: Callable[[str], Any], released: list[str]) -> None:
    given = run(
        "dataset = samples(transform=lambda s: {'__key__': s['__key__'], 'txt': s['txt'], 'cls': int(s['cls'])})\n"
        "assert isinstance(dataset, IterableDataset)\n"
        "given = list(loader(dataset))\n"
        "assert all(s['txt'] == b'text of %d ' % s['cls'] * 500 for s in given)\n"
        "return keys(given)\n"
    )
    assert sorted(given) == released
    assert given != released


def test_processes_and_their_workers_share_the_samples(run: Callable[[str], Any], released: list[str]) -> None:
    given = run("return [keys(loader(samples(rank=rank, world=2))) for rank in range(2)]")
    assert sorted(given[0] + given[1]) == released
    assert all(given)


def test_batches_are_collated(run: Callable[[str], Any], released: list[str]) -> None:
    given = run(
        "dataset = samples(transform=lambda s: (s['__key__'], int(s['cls'])))\n"
        "batches = list(DataLoader(dataset, batch_size=8, num_workers=2))\n"
        "return [[list(names), numbers.tolist()] for names, numbers in batches]\n"
    )
    pairs = [(name, number) for names, numbers in given for name, number in zip(names, numbers, strict=True)]
    assert sorted(name for name, _ in pairs) == released
    assert all(int(name.rpartition("/")[2]) == number for name, number in pairs)


def test_the_order_follows_from_seed_and_epoch(run: Callable[[str], Any], released: list[str]) -> None:
    first, again, other_seed, next_epoch = run(
        "later = samples()\n"
        "later.set_epoch(1)\n"
        "return [keys(loader(dataset)) for dataset in (samples(), samples(), samples(seed=8), later)]\n"
    )
    assert first == again
    assert sorted(other_seed) == sorted(next_epoch) == released
    assert first not in (other_seed, next_epoch)
    assert other_seed != next_epoch


def test_workers_that_stay_begin_the_epoch_that_is_set(run: Callable[[str], Any], released: list[str]) -> None:
    anew, stayed, back = run(
        "import itertools\n"
        "dataset = samples()\n"
        "dataset.set_epoch(3)\n"
        "anew = keys(loader(dataset))\n"
        "dataset = samples()\n"
        "staying = loader(dataset, persistent_workers=True)\n"
        "keys(itertools.islice(staying, 10))  # a training may leave an epoch early\n"
        "dataset.set_epoch(3)\n"
        "stayed = keys(staying)\n"
        "dataset.set_epoch(3)\n"
        "return [anew, stayed, keys(staying)]\n"
    )
    assert anew == stayed == back
    assert sorted(anew) == released


def test_workers_that_are_spawned_read_as_well(run: Callable[[str], Any], released: list[str]) -> None:
    given = run("return keys(loader(samples(), multiprocessing_context='forkserver'))")
    assert sorted(given) == released


@pytest.mark.parametrize("workers", [0, 2])
def test_a_stateful_loader_goes_on_within_an_epoch(
    run: Callable[[str], Any], released: list[str], workers: int
) -> None:
    whole, begun, rest = run(
        "import itertools\n"
        f"options = {{'kind': StatefulDataLoader, 'workers': {workers}}}\n"
        "whole = keys(loader(samples(), **options))\n"
        "first = loader(samples(), **options)\n"
        "begun = keys(itertools.islice(first, 23))\n"
        "resumed = loader(samples(), **options)\n"
        "resumed.load_state_dict(first.state_dict())\n"
        "return [whole, begun, keys(resumed)]\n"
    )
    assert len(begun) == 23
    assert begun + rest == whole
    assert sorted(whole) == released
