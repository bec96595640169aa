"""Pure decisions: no framework, no hypervisor, no clock, no I/O."""
