"""The study: policies × seeds on one spec and one data set, and what may be concluded from it.

`design` says what is compared, before anything runs; `execute` runs the trials in worker processes; `analyse` compares
them; `report` writes it all down. TensorFlow is loaded by the workers only.
"""

from __future__ import annotations
