"""A mix of 1000 statements as control programs have them, made by rule: the same for every compiler that is compared.

`python -m tests.bench.st_mix` prints it: edition 2's language, so that older compilers read it too.
"""

from __future__ import annotations

#: One group: what a station of a line does. {n} numbers it.
_GROUP = """
seed := seed * 1103515 + 12345;
raw{n} := DINT_TO_INT(seed / 65536 MOD 1000);
value{n} := INT_TO_REAL(raw{n}) * 0.1 + value{n} * 0.9;
IF value{n} > 50.0 THEN high{n} := TRUE; ELSE high{n} := FALSE; END_IF;
delay{n}(IN := high{n}, PT := T#50ms);
count{n}(CU := delay{n}.Q, R := raw{n} = 7, PV := 100);
valve{n} := (high{n} OR delay{n}.Q) AND NOT count{n}.Q;
history[pointer] := raw{n};
pointer := (pointer + 1) MOD 64;
CASE raw{n} MOD 4 OF 0: a := a + 1; 1: b := b + raw{n}; 2: c := c - 1; ELSE a := a - b MOD 17; END_CASE;
FOR i := 0 TO 3 DO sum := sum + INT_TO_DINT(history[i * 16]); END_FOR;
bits := (bits * 3) + 7;
IF valve{n} AND high{n} THEN level := level + value{n}; ELSIF valve{n} THEN level := level - 1.0; END_IF;
level := LIMIT(-1000000.0, level, 1000000.0);
check := check * 31 + INT_TO_DINT(raw{n}) + BOOL_TO_DINT(valve{n}) + sum;
"""
_DECLARE = "raw{n} : INT; value{n} : REAL; high{n} : BOOL; delay{n} : TON; count{n} : CTU; valve{n} : BOOL;"
#: A group holds 20 statements, the branches and the loop's body counted once.
GROUPS = 50


def source() -> str:
    """The program."""
    declarations = "\n".join(_DECLARE.format(n=n) for n in range(GROUPS))
    body = "".join(_GROUP.format(n=n) for n in range(GROUPS))
    return (
        "PROGRAM Main\nVAR\nseed : DINT := 1; check, sum : DINT; bits : DINT; level : REAL; a, b, c, i, pointer : INT;\n"
        f"history : ARRAY[0..63] OF INT;\n{declarations}\nEND_VAR\n{body}\nEND_PROGRAM\n"
    )


if __name__ == "__main__":
    print(source())
