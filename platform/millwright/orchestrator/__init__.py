"""The composition root: ports wired to adapters; runner, watcher, rounds. One active, others stand by."""
