"""A saved Keras model → plan and spec, from its own config: no TensorFlow, and none of its code is run.

::

    file ─reader→ config ─network→ Network ─letters→ units and ordering ─planning→ Plan
                                                                       └writing→ spec, compiled again and compared
"""

from __future__ import annotations

from kbuild.importing.letters import Found, infer_policy
from kbuild.importing.network import Network, network_of
from kbuild.importing.reader import MODEL_SUFFIXES, read_config
from kbuild.importing.reporting import plan_of_model
from kbuild.importing.writing import Imported, import_model, write_spec

__all__ = [
    "MODEL_SUFFIXES",
    "Found",
    "Imported",
    "Network",
    "import_model",
    "infer_policy",
    "network_of",
    "plan_of_model",
    "read_config",
    "write_spec",
]
