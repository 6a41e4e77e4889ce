"""What a user may ask beside calls: of the catalogue, the route, the quota, the money and the past."""
