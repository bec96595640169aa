"""While an upgrade runs the release before writes the new tables, and does not name their new columns."""

import pytest
from django.db import connection
from millwright.core.balancing import BalanceState

#: Columns that were added without the release before knowing them.
ADDED = {
    "balancing_hostrecovery": {"initial_values"},
    "balancing_recommendation": {"note", "revision", "seen", "text_parts", "note_parts"},
    "balancing_moveplan": {"text_parts", "note_parts"},
    "balancing_rollingdrain": {"note_parts"},
    "balancing_balancer": {"max_moves", "sustain_rounds", "cooldown_rounds", "link_moves"},
}


@pytest.mark.django_db
@pytest.mark.parametrize("table", sorted(ADDED))
def test_the_database_fills_what_it_does_not_name(table: str) -> None:
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute(f"PRAGMA table_info({table})")
            filled = {row[1] for row in cursor.fetchall() if not row[3] or row[4] is not None}
        else:
            cursor.execute(
                "SELECT column_name FROM information_schema.columns WHERE table_name = %s"
                " AND (is_nullable = 'YES' OR column_default IS NOT NULL)",
                [table],
            )
            filled = {row[0] for row in cursor.fetchall()}
    assert ADDED[table] <= filled


def test_what_a_later_release_kept_of_a_round_is_read() -> None:
    assert BalanceState.of({"number": 7, "of_tomorrow": 1}) == BalanceState(number=7)
