"""Real servers for tests: found or built, started on loopback, gone afterwards."""
