"""Names of the columns that prepared rows have beside their features: a stage that needs no more stays light."""

ROW_ID, FOLD, FIRST, GROUP = "_row_id", "_fold", "_first_fold", "_group_fold"
TIME, ENTITY = "_split_time", "_split_entity"
FIT_WEIGHT, COPIES = "_fit_weight", "_copies"
"""Columns that mitigation adds to training rows: how much a row counts in fits, and how often it is there."""
LINE = "threshold"
"""Column of held-out scores: from which score the row counts as positive, where groups have their own."""
