"""What the service offers: its list of models, the facts in it, and which of them are better."""
