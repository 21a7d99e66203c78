"""Networks of cells trained from nothing: pixels, batches, the loop, trials."""
