"""The standard's calendar functions (IEC 61131-3:2013, table 36), written in Structured Text themselves.

Days are counted from 1970-01-01 in the proleptic Gregorian calendar, in eras of 400 years.
"""

from __future__ import annotations

_DAYS = """
FUNCTION __DAYS : LINT
VAR_INPUT y, m, d : LINT; END_VAR
VAR era, yoe, doy : LINT; END_VAR
IF m <= 2 THEN y := y - 1; END_IF;
era := y / 400;
yoe := y - era * 400;
doy := (153 * SEL(m > 2, m + 9, m - 3) + 2) / 5 + d - 1;
__DAYS := era * 146097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719468;
END_FUNCTION

FUNCTION __CIVIL
VAR_INPUT days : LINT; END_VAR
VAR_OUTPUT year, month, day : INT; END_VAR
VAR z, era, doe, yoe, doy, mp, y : LINT; END_VAR
z := days + 719468;
era := z / 146097;
doe := z - era * 146097;
yoe := (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
doy := doe - (365 * yoe + yoe / 4 - yoe / 100);
mp := (5 * doy + 2) / 153;
y := yoe + era * 400;
day := LINT_TO_INT(doy - (153 * mp + 2) / 5 + 1);
month := LINT_TO_INT(SEL(mp < 10, mp - 9, mp + 3));
IF month <= 2 THEN y := y + 1; END_IF;
year := LINT_TO_INT(y);
END_FUNCTION
"""


_DATE = """
FUNCTION CONCAT_{L}DATE : {L}DATE
VAR_INPUT YEAR, MONTH, DAY : DINT; END_VAR
CONCAT_{L}DATE := LINT_TO_{L}DATE(__DAYS(YEAR, MONTH, DAY) * {day});
END_FUNCTION

FUNCTION SPLIT_{L}DATE
VAR_INPUT IN : {L}DATE; END_VAR
VAR_OUTPUT YEAR, MONTH, DAY : INT; END_VAR
__CIVIL({L}DATE_TO_LINT(IN) / {day}, YEAR, MONTH, DAY);
END_FUNCTION
"""

_TOD = """
FUNCTION CONCAT_{L}TOD : {L}TOD
VAR_INPUT HOUR, MINUTE, SECOND, MILLISECOND : DINT; END_VAR
CONCAT_{L}TOD := LINT_TO_{L}TOD(
    (((DINT_TO_LINT(HOUR) * 60 + MINUTE) * 60 + SECOND) * 1000 + MILLISECOND) * {ms});
END_FUNCTION

FUNCTION SPLIT_{L}TOD
VAR_INPUT IN : {L}TOD; END_VAR
VAR_OUTPUT HOUR, MINUTE, SECOND, MILLISECOND : INT; END_VAR
VAR ms : LINT; END_VAR
ms := {L}TOD_TO_LINT(IN) / {ms};
HOUR := LINT_TO_INT(ms / 3600000);
MINUTE := LINT_TO_INT(ms / 60000 MOD 60);
SECOND := LINT_TO_INT(ms / 1000 MOD 60);
MILLISECOND := LINT_TO_INT(ms MOD 1000);
END_FUNCTION
"""

# DT counts whole seconds, LDT nanoseconds: {clock} turns milliseconds of the day into the one or the other.
_DT = """
FUNCTION CONCAT_{L}DT : {L}DT
VAR_INPUT YEAR, MONTH, DAY, HOUR, MINUTE, SECOND, MILLISECOND : DINT; END_VAR
CONCAT_{L}DT := LINT_TO_{L}DT(__DAYS(YEAR, MONTH, DAY) * {day}
    + (((DINT_TO_LINT(HOUR) * 60 + MINUTE) * 60 + SECOND) * 1000 + MILLISECOND) {clock});
END_FUNCTION

FUNCTION SPLIT_{L}DT
VAR_INPUT IN : {L}DT; END_VAR
VAR_OUTPUT YEAR, MONTH, DAY, HOUR, MINUTE, SECOND, MILLISECOND : INT; END_VAR
VAR ms : LINT; END_VAR
__CIVIL({L}DT_TO_LINT(IN) / {day}, YEAR, MONTH, DAY);
ms := {L}DT_TO_LINT(IN) MOD {day} {back};
HOUR := LINT_TO_INT(ms / 3600000);
MINUTE := LINT_TO_INT(ms / 60000 MOD 60);
SECOND := LINT_TO_INT(ms / 1000 MOD 60);
MILLISECOND := LINT_TO_INT(ms MOD 1000);
END_FUNCTION
"""

_WEEK = """
FUNCTION DAY_OF_WEEK : INT
VAR_INPUT IN : DATE; END_VAR
DAY_OF_WEEK := UDINT_TO_INT((DATE_TO_UDINT(IN) / 86400 + 4) MOD 7);
END_FUNCTION
"""


_DAY_AND_TIME = """
FUNCTION CONCAT_DATE_LTOD : LDT
VAR_INPUT IN1 : DATE; IN2 : LTOD; END_VAR
CONCAT_DATE_LTOD := LINT_TO_LDT(DATE_TO_LINT(IN1) * 1000000000 + LTOD_TO_LINT(IN2));
END_FUNCTION
"""


def calendar() -> str:
    """CONCAT_… and SPLIT_… of dates and times of day, and DAY_OF_WEEK (0 is Sunday)."""
    parts = [_DAYS, _WEEK, _DAY_AND_TIME]
    for letter, day, ms, clock, back in (
        ("", 86_400, 1, "/ 1000", "* 1000"),
        ("L", 86_400_000_000_000, 1_000_000, "* 1000000", "/ 1000000"),
    ):
        for text in (_DATE, _TOD, _DT):
            parts.append(text.format(L=letter, day=day, ms=ms, clock=clock, back=back))
    return "".join(parts)
