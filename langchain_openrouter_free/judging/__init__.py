"""What was said, judged: replies, refusals and answers in, verdicts out. Pure."""
