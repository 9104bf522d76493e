"""Plan → findings: what is known to go wrong with normalization, activation and dropout, found in any plan.

One file per family of rules, each rule with its texts and examples in one place; `rules` lists them, `check` runs them.
"""

from __future__ import annotations
