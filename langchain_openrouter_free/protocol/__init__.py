"""What goes over the wire, without the wire: bytes to small values, and the service's own words for things. Pure."""
