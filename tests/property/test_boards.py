"""A board's counters are what counting its rows would give."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from treadle.state import StageState, SubtaskBoard, SubtaskRow

rows = st.lists(st.tuples(st.integers(0, 5), st.sampled_from(StageState), st.none() | st.integers(0, 9)), max_size=40)


@given(rows, st.integers(0, 9), st.integers(0, 6))
def test_counters_and_queues_say_what_the_rows_say(puts: list[tuple[int, StageState, int | None]], now: int, room: int) -> None:
    board, kept = SubtaskBoard(), list[SubtaskRow]()
    for place, state, due in puts:
        seq = min(place, len(kept))
        row = SubtaskRow("a", seq, f"s{seq}", state, 1, 0, due=due if state is StageState.PENDING else None)
        assert board.put(row) is (kept[seq] if seq < len(kept) else None)
        kept[seq:] = [row, *kept[seq + 1 :]]
        states = [row.state for row in kept]
        assert board.rows == kept
        assert board.unfinished == states.count(StageState.PENDING) + states.count(StageState.RUNNING)
        assert board.running == states.count(StageState.RUNNING)
        assert board.failed == states.count(StageState.FAILED)
        assert board.asked == states.count(StageState.AWAITING_REVIEW)
    due_now = [row for row in kept if row.state is StageState.PENDING and (row.due is None or row.due <= now)]
    chosen = board.next(room, now)
    assert all(row in due_now for row in chosen)
    assert len(chosen) <= room
    if room >= len(puts):
        assert {row.seq for row in chosen} == {row.seq for row in due_now}
