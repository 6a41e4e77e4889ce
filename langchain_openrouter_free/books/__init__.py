"""What is remembered, as values: quota windows, money, cooldowns, health and history. Pure."""
