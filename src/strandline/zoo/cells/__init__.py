"""Networks of cells: one architecture space per file, built from a genotype and a plan."""
