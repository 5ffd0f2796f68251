"""Every guard of jaxae taken out, one at a time, to see a test turn red; and a sample of its arithmetic changed.

`python -m tests.mutants` runs the whole of it. No file is changed: Python is handed other text as it imports one.
"""
