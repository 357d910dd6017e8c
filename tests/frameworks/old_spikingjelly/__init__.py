"""Tests that run with an old release of SpikingJelly first on the path, in a process of its own.

`test_spikingjelly_releases.py` starts them, for every release; alone, with a folder of `tests.support.old_releases`:
`PYTHONPATH=.pytest_cache/spikingjelly/0.0.0.0.4 pytest tests/frameworks/old_spikingjelly/neurons.py`.
"""
