"""The state tables: closed, reachable, and an error that says what may follow."""

import pytest
from millwright.core.lifecycle import TRANSITIONS, LifecycleError, check_transition, may_follow

FIRST = {
    "request": "draft",
    "environment": "reserved",
    "machine": "absent",
    "operation": "queued",
    "host_health": "up",
    "host_administration": "schedulable",
    "host_power": "awake",
}


@pytest.mark.parametrize("kind", sorted(TRANSITIONS))
def test_every_table_is_closed_and_every_state_reachable(kind: str) -> None:
    table = TRANSITIONS[kind]
    assert {after for row in table.values() for after in row} <= set(table)
    seen, frontier = {FIRST[kind]}, [FIRST[kind]]
    while frontier:
        for state in table[frontier.pop()] - seen:
            seen.add(state)
            frontier.append(state)
    assert seen == set(table)


def test_a_removed_environment_stays_removed() -> None:
    assert TRANSITIONS["environment"]["removed"] == frozenset()


def test_the_same_state_may_follow_itself() -> None:
    assert may_follow("operation", "running", "running")


def test_the_error_names_both_states_and_what_may_follow() -> None:
    with pytest.raises(LifecycleError) as caught:
        check_transition("request", "draft", "approved")
    assert (
        str(caught.value)
        == "request: 'approved' may not follow 'draft'; allowed: submitted, withdrawn"
    )
