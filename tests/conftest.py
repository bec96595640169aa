"""What all tests share. The home of the tests is set by tests/support/isolate.py, before this."""
