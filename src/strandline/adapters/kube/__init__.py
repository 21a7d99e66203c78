"""The runtime of an operator: what any controller on Kubernetes needs, and no kind of ours.

Everything here is level-triggered. A change, a missed change, a restart and a periodic look
all end in the same place: a key in a queue, and a function that reads the present state of
that key. Nothing rests on having seen an event.
"""
