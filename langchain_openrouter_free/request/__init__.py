"""One request, prepared: what is configured and what a call says, checked, planned and put into a body."""
