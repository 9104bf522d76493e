"""What Dropout did to the statistics that batch normalization uses at inference, and how to mend it.

::

    run ─model→ statistics: real mean and variance per BN ─measure→ Diagnosis ─words, table, page→ what was found
                     └recalibrate→ a model whose moving statistics are the real ones
"""
