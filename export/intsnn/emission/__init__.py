"""An integer graph -> C: one emitter for the machine that runs Python and for a microcontroller.

The way through it: `storage` says how each tensor lies in memory, `stages` which nodes are one loop, `segments` which
of them several samples go through together, `sums` what a synapse adds up; `writing` puts the functions of a stage
together from `listed`, `merged` and `dense` (host), `walked` (microcontroller, groups), `lines` (neurons and all that
works value by value), `pools` and `indexed`; `running` calls the stages in turn; `source` has the whole unit. What is
the same for every network is C in `kernels/`.
"""
