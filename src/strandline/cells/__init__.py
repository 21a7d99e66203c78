"""Architecture spaces: what a cell may be, told apart from any network library."""
