"""Watch what the claims endpoint is asked and decides, and for whom: **page, watch, retrain, or nothing**.

**When it runs.** Every night at 04:00 UTC, about the day that ended at midnight. It waits until the endpoint has
written the last rows, and takes no worker meanwhile.

**What it looks at.** The captured requests and answers of the last three days, against the rows that the champion
learned from and was judged on:

| monitor | fires when |
|---|---|
| data quality | far fewer or more requests, many refused or empty, another unit, a broken rule: on one day alone |
| data drift | a feature, or all together, came from elsewhere, on two of three days; dates of incidents may |
| prediction drift | the scores did |
| model quality | labels are ripe (thirty days) and ROC AUC is surely worse than the reference, on two of three |
| bias | women's claims are decided on otherwise, against all others, than on held-out rows; or a limit is broken |
| attribution drift | other features move the scores |

**Gender is no feature.** The endpoint looks it up for a request by `policy_id` and captures it beside the request;
neither the model nor the caller is given it. A request that brings all features itself has no gender: it is left out of
what bias is judged on, and the monitor tells how many were. Fewer than twenty claims of a group: *not yet*.

**Labels name the policy.** `bin/stepzero labels auto_claims_fraud FILE` takes `policy_id` as the id, or the id of the
request's row. A policy that was asked for twice in a day has no label by its id: nobody knows which request it means.

**What follows** is what follows for the cards: an incident is a page, a shift without a loss is watched, a loss is a
retrain through the same gates and the same approval, once a week at most.
"""

from stepzero_airflow import daily, use_case
from stepzero_airflow.watch import await_window, follow, plan_watch, report_watch, triage, watch, watching_dag

claims_fraud = use_case("auto_claims_fraud")


@watching_dag(claims_fraud, schedule=daily("04:00"))
def auto_claims_fraud_watch() -> None:
    """Take a window of served claims to a decision."""
    run = plan_watch(claims_fraud, await_window(claims_fraud))
    seen = watch(run)
    decided = triage(run, seen)
    report_watch(run, *follow(run, decided))


auto_claims_fraud_watch()
