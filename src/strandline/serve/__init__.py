"""Services: thin edges that turn requests of the outside into calls of jobs, and back."""
