"""Where settings come from when they are no arguments: files, the environment, and in which order they count.

Below the model and beside it: it turns files into constructor arguments, and decides nothing else.
"""
