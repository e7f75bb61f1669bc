"""The life of a job, as pure functions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retint.lifecycle import ACTIVE, FAULT_LIMIT, FINAL, MOVES, STAGES, Outcome, Stage, State, backoff, next_position

stages = st.sampled_from(STAGES)
outcomes = st.sampled_from(Outcome)
faults = st.integers(0, FAULT_LIMIT - 1)


@given(stages, faults, outcomes)
def test_what_follows_a_running_attempt_is_a_legal_move(stage: Stage, faults: int, outcome: Outcome) -> None:
    assert next_position(stage, faults, outcome).state in MOVES[State.RUNNING]


@given(stages, faults)
def test_only_a_finished_stage_moves_the_cursor_and_forgets_its_faults(stage: Stage, faults: int) -> None:
    moved = {outcome: next_position(stage, faults, outcome) for outcome in Outcome}
    done = moved.pop(Outcome.DONE)
    assert done.faults == 0
    assert done.stage is (stage.next or stage)
    assert {position.stage for position in moved.values()} == {stage}


@given(st.lists(outcomes, max_size=40))
def test_a_job_ends_or_waits_for_an_administrator_after_few_attempts(ends: list[Outcome]) -> None:
    stage, state, faults, attempts = STAGES[0], State.READY, 0, 0
    for outcome in ends:
        if state not in ACTIVE:
            break
        position = next_position(stage, faults, outcome)
        stage, state, faults, attempts = position.stage, position.state, position.faults, attempts + 1
    assert attempts <= len(STAGES) * FAULT_LIMIT
    if len(ends) >= len(STAGES) * FAULT_LIMIT:
        assert state in FINAL | {State.QUARANTINED}
    assert faults < FAULT_LIMIT or state is State.QUARANTINED


def test_the_stages_run_in_order_and_the_last_one_restores() -> None:
    stage, seen = STAGES[0], []
    while (position := next_position(stage, 0, Outcome.DONE)).state is State.QUEUED:
        seen.append(stage)
        stage = position.stage
    assert [*seen, stage] == ["ingest", "colorize", "defade", "render"]
    assert position.state is State.RESTORED


@pytest.mark.parametrize("outcome", [Outcome.FAULT, Outcome.EXPIRED])
def test_the_third_fault_of_a_stage_is_quarantined(outcome: Outcome) -> None:
    states = [next_position(Stage.RENDER, faults, outcome).state for faults in range(FAULT_LIMIT)]
    assert states == [State.READY, State.READY, State.QUARANTINED]


def test_nothing_leads_out_of_a_final_state() -> None:
    assert {state for state, following in MOVES.items() if not following} == FINAL
    assert all(state.is_final is (state in FINAL) for state in State)


def test_every_state_can_be_reached_and_every_one_not_final_can_be_cancelled() -> None:
    assert set().union(*MOVES.values()) == set(State)
    assert {state for state, following in MOVES.items() if State.CANCELLED in following} == set(State) - FINAL


@given(st.integers(1, 10), st.floats(0.01, 60))
def test_the_wait_after_a_fault_doubles_give_or_take_a_half(faults: int, first_s: float) -> None:
    expected = first_s * 2 ** (faults - 1)
    assert 0.5 * expected <= backoff(faults, first_s) <= 1.5 * expected


def test_waits_differ_by_chance_so_that_jobs_do_not_come_back_together() -> None:
    assert len({backoff(1, 2.0) for _ in range(20)}) > 10
