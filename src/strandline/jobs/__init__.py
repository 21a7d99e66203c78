"""One body per kind of work: what the command line, a pipeline step and a pod all run."""
