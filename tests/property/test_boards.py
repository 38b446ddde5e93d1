"""A board's counters and queues are what looking at all its rows would give."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from treadle.state import StageState, SubtaskBoard, SubtaskRow

PENDING, RUNNING = StageState.PENDING, StageState.RUNNING
steps = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9), st.sampled_from(StageState), st.none() | st.integers(0, 9)))


@given(st.integers(0, 6), steps)
def test_counters_and_queues_say_what_the_rows_say(children: int, steps: list[tuple[int, int, StageState, int | None]]) -> None:
    board = SubtaskBoard(SubtaskRow("a", seq, f"s{seq}", PENDING, 0, 0) for seq in range(children))
    for room, place, state, due in steps:
        now, before = place, list(board.rows)
        waiting = [row for row in before if row.state is PENDING and (row.due is None or row.due <= now)]
        chosen = board.next(room, now)
        assert len(chosen) == min(room, len(waiting))
        assert all(row in waiting for row in chosen)
        for row in chosen:
            assert board.put(row._replace(state=RUNNING, due=None)) is row
        # One of those that run comes to something.
        if running := [row for row in board.rows if row.state is RUNNING]:
            row = running[place % len(running)]
            assert board.put(row._replace(state=state, due=due if state is PENDING else None)) is row
        # Somebody has one that has ended tried again.
        ended = [row for row in board.rows if row.state is not RUNNING and row.state is not PENDING]
        if ended and due is None:
            again = ended[place % len(ended)]
            assert board.put(again._replace(state=PENDING, due=None)) is again
        states = [row.state for row in board.rows]
        assert len(states) == children
        assert board.unfinished == states.count(PENDING) + states.count(RUNNING)
        assert board.running == states.count(RUNNING)
        assert board.failed == states.count(StageState.FAILED)
        assert board.asked == states.count(StageState.AWAITING_REVIEW)
