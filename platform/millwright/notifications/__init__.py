"""News for people and programs: the inbox, mail and signed webhooks."""
