"""Watch what the credit-card endpoint is asked and answers, and decide: **page, watch, retrain, or nothing**.

**When it runs.** Every night at 03:00 UTC, about the day that ended at midnight. It waits until the endpoint has
written the last rows; a day without a single request is looked at, too.

**What it looks at.** The captured requests and answers of the last three days, against the rows that the champion
learned from and was judged on. Each monitor has a verdict and a page among the files of the MLflow run:

| monitor | fires when |
|---|---|
| data quality | far fewer or more requests, many refused or empty, another unit, a broken rule: on one day alone |
| data drift | a feature, or all together, came from elsewhere, on two of three days |
| prediction drift | the scores did |
| model quality | labels are ripe (seven days) and the metric is surely worse than the reference, on two of three |
| attribution drift | other features move the scores |
| captured skew | requests are unlike the training rows, by declared bounds; it is told, and decides nothing |

Thresholds are no guesses: they are drawn from the reference so that the monitors of drift and of model quality, all
together, give one false alarm in thirty days at most. Data quality and captured skew have bounds that are declared in
the use case, outside that budget. While labels are not ripe, model quality says *not yet*, and what scores foretell.

**What follows**

| seen | decision |
|---|---|
| something is wrong with the rows themselves | page: people are told, once an incident |
| a shift, and no loss | watch |
| a loss; or a shift and a foretold loss that no labels reach | retrain: the training Dag is triggered, and says why |
| nothing | nothing |

A retrain must pass the same gates and the same approval, and its model must hold its own against the champion on recent
labelled requests. Never two retrains at once, a rest after each, a budget a week; an alarm that comes meanwhile is
remembered. A backfill, a run that catches up, and one that is older than the newest retrain ask for none.
`bin/stepzero labels credit_card_fraud FILE` brings labels; `bin/stepzero rollback` an earlier champion.
"""

from stepzero_airflow import daily, use_case
from stepzero_airflow.watch import await_window, follow, plan_watch, report_watch, triage, watch, watching_dag

fraud = use_case("credit_card_fraud")


@watching_dag(fraud, schedule=daily("03:00"))
def credit_card_fraud_watch() -> None:
    """Take a window of served traffic to a decision."""
    run = plan_watch(fraud, await_window(fraud))
    seen = watch(run)
    decided = triage(run, seen)
    report_watch(run, *follow(run, decided))


credit_card_fraud_watch()
