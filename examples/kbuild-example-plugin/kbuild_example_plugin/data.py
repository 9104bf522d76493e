"""A source of data: what a spec may write, without NumPy or Keras; `reading` makes the examples."""

from __future__ import annotations

from kbuild.spec.custom_data import CustomData
from kbuild.spec.data_values import sizes, word

#: `{rings: [400, 100], gap: wide}`
RINGS = CustomData(
    source=sizes(2, "how many training and test examples, [400, 100]", 1_000_000),
    options={"gap": word("narrow", "wide")},
    read="kbuild_example_plugin.reading:read_rings",
    example="{rings: [400, 100]}",
)
