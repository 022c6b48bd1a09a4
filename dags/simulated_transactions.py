"""Card transactions day by day: every run takes one day's file, learns from the weeks before it, and can be repeated.

**When it runs.** Every night at 02:00 UTC, for the day that ends then. Files lie in a folder a day,
`landing/simulated_transactions/YYYY-MM-DD/`; `bin/stepzero data land simulated_transactions FILE` cuts a longer file
into its days. A run waits up to 22 hours for its day; a day without a file is skipped, not failed.

**Catching up.** In any order, and again, days give the same rows and figures; how far back a day is compared depends
on what was judged before. As shipped, missed days are not made up for; with `catchup=True` and your first day as
`start_date` they are, and of a day long gone a run looks once whether its file is there.

**Backfill.** `airflow backfill create --dag-id simulated_transactions --from-date 2018-05-10 --to-date 2018-05-12`, or
*Trigger*, *Backfill* in the UI. A run that begins a day or more after its day ended **evaluates and never promotes**:
what serves today is decided by today's run, or by one that a person triggers.

**What it learns from.** The 35 days that end with the run's own, as they have landed. The gate judges each of them by
itself, once, whichever run comes first, and the run's own day against those judged before it, too; a day that failed,
or that its own run refused as unlike the days before, is no part of a window. Fraud is known three days late, so
training ends three days before the test begins, in the folds as at the end; features look back only, and the run
checks it.

**How it ends**: *evaluated* (a backfill), *approved*, *not better than the champion*, or red with the rule that said
no. There is no endpoint here: its features are a customer's and a terminal's history, and need a feature store.
"""

from datetime import UTC, datetime

from stepzero_airflow import daily, use_case
from stepzero_airflow.stages import approve, await_batch, plan, prepare, quality_gate, register, report, train

transactions = use_case("simulated_transactions")


# The first day with a whole window behind it: backfills may begin there.
@transactions.dag(schedule=daily("02:00"), start_date=datetime(2018, 5, 6, tzinfo=UTC))
def simulated_transactions() -> None:
    """Take one day to an approved version."""
    batch = await_batch(transactions)
    run = plan(transactions, batch)
    checked = quality_gate(run)
    prepared = prepare(run, checked)
    version = register(run, train(run, prepared))
    report(run, approve(run, version))


simulated_transactions()
