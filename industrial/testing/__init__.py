"""Tests of control programs: suites in YAML beside the program, run in virtual time."""

from .coverage import Coverage
from .errors import SuiteError
from .junit import junit_xml
from .runner import Failure, SuiteResult, TestResult, run_suite
from .suite import Suite, load_suite, parse_suite

__all__ = [
    "Coverage",
    "Failure",
    "Suite",
    "SuiteError",
    "SuiteResult",
    "TestResult",
    "junit_xml",
    "load_suite",
    "parse_suite",
    "run_suite",
]
