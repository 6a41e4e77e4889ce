"""Who is asked next: one call's walk through its candidates. Pure."""
