"""Redis goes away and nothing is lost: a primary, a local mirror to go on from, and a journal to catch up with."""
