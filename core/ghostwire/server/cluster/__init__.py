"""What the servers of one mesh tell each other that is no record: leases, interests, relays' sessions, themselves."""
