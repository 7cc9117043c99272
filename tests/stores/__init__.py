"""Object stores: a real server, and what can go wrong on the way to it."""
