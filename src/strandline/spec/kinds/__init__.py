"""One module a kind; `strandline.spec.v1alpha1` is where all of them are imported from."""
