"""Control programs, devices and the mappings between their registers and tags."""
