"""A second face: the service's own dialect on loopback, for frameworks that take no LangChain model.

The same engine, quota, budget, cooldowns and honesty. Nothing on this path loads LangChain but its error classes.
"""
