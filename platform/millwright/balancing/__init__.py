"""Resource pools and placement rules."""
