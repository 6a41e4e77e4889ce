"""The way to the service: the only part that knows the HTTP client and its sockets."""
