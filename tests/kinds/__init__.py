"""Documents of all kinds for tests: minimal ones, random ones, and one for each rule."""
