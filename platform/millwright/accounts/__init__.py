"""People, projects, roles, tokens and one-time sign-in links."""
