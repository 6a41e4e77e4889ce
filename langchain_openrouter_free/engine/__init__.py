"""The only part that waits, and the only part that books: from a route's actions to attempts."""
