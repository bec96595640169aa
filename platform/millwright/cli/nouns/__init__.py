"""Commands on nouns, over the public API."""
