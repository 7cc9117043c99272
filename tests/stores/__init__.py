"""Object stores: a real server, and faults of the connection."""
