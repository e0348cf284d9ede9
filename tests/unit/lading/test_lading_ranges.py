from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from lading.client.plan import GAP_BYTES, RANGE_BYTES, RANGE_MAX_BYTES, Frame, range_bytes, ranges


def frames(*sizes: tuple[int, int], shard: str = "s") -> list[tuple[str, Frame]]:
    """Frames given as (gap before, length)."""
    made, position = [], 0
    for gap, length in sizes:
        made.append((shard, Frame(position + gap, length, [])))
        position += gap + length
    return made


SIZES = st.lists(
    st.tuples(
        st.one_of(st.just(0), st.integers(0, 3 * GAP_BYTES)),
        st.one_of(st.integers(1, 100_000), st.integers(1, 2 * RANGE_BYTES)),
    ),
    max_size=60,
)


@given(by_shard=st.dictionaries(st.sampled_from("abc"), SIZES))
def test_ranges_hold_every_frame_once_in_order_within_the_limits(by_shard: dict[str, list[tuple[int, int]]]) -> None:
    wanted = [frame for shard in sorted(by_shard) for frame in frames(*by_shard[shard], shard=shard)]
    grouped = list(ranges(iter(wanted)))
    assert [(group.shard, frame) for group in grouped for frame in group.frames] == wanted
    for group in grouped:
        first, last = group.frames[0], group.frames[-1]
        assert len(group.frames) == 1 or last.offset + last.length - first.offset <= RANGE_BYTES
        for one, next_ in pairwise(group.frames):
            assert 0 <= next_.offset - one.offset - one.length <= GAP_BYTES
    for one, next_ in pairwise(grouped):
        first, end, begin = one.frames[0], one.frames[-1], next_.frames[0]
        apart = begin.offset - end.offset - end.length > GAP_BYTES
        too_long = begin.offset + begin.length - first.offset > RANGE_BYTES
        assert one.shard != next_.shard or apart or too_long, "two requests where one would do"


def test_a_small_gap_is_fetched_along_and_a_larger_one_is_not() -> None:
    assert len(list(ranges(frames((0, 10), (GAP_BYTES, 10))))) == 1
    assert len(list(ranges(frames((0, 10), (GAP_BYTES + 1, 10))))) == 2


def test_nothing_wanted_is_nothing_asked() -> None:
    assert list(ranges([])) == []


@given(total=st.integers(0, 10**13), jobs=st.integers(1, 64))
def test_requests_are_of_a_size_that_gives_every_thread_as_many(total: int, jobs: int) -> None:
    size = range_bytes(total, jobs)
    assert RANGE_BYTES <= size <= RANGE_MAX_BYTES
    rounds = -(-total // (size * jobs))
    assert size == RANGE_BYTES or size * jobs * rounds - total < jobs * rounds, "a part of the threads would be idle"
