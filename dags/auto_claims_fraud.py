"""From two raw tables, claims and customers, to a served champion that a person may have to approve.

**When it runs.** Every night at 03:00 UTC. A scheduled run waits up to 22 hours until **both** tables have a new file
below `landing/auto_claims_fraud/claims/` and `…/customers/`. By hand it takes what is new, and of a table that has
nothing new what was accepted last: so a corrected file of one table needs no second copy of the other.

**The steps**, as the reference example has them, and where they stand here:

| reference | here |
|---|---|
| claims, customers: Data Wrangler to feature groups | *quality_gate* judges both first; then *features*, side by side |
| create the data set | *dataset*: as known at the run's moment, split by policy, explored |
| bias before training | *dataset.bias_before*; a limit that is broken stops the run before anything is learned |
| SMOTE on gender, in a notebook | `bias.mitigate` puts *dataset.mitigate* and *train.mitigate_decisions* here |
| train | *train*: search, evaluation on policies that nothing has seen, SHAP |
| bias after training | *train.bias_after*: gates the promotion, which the reference's never did |
| register the package with its reports | *register*: version, evidence, dossier |
| deploy | *deploy*, which waits for *approve*; the reference's waited for nothing |

**Who decides.** The environment's rule, or a person in *Required Actions* who reads the dossier first. What earlier
batches said is kept in the feature groups: a run learns from all policies as they were known when it began.

**How it ends**: as `credit_card_fraud` does; the run's note says it in one sentence.
"""

from airflow.sdk import TaskGroup

from stepzero_airflow import daily, stages, tables, use_case

claims_fraud = use_case("auto_claims_fraud")


@claims_fraud.dag(schedule=daily("03:00"))
def auto_claims_fraud() -> None:
    """Take two landed tables to a served champion."""
    run = stages.plan(claims_fraud, stages.await_batch(claims_fraud))
    checked = tables.quality_gates(run)
    with TaskGroup("features", tooltip="Claims and customers, prepared side by side into their feature groups"):
        claims = tables.ingest_features(run, tables.prepare_table(run, checked, "claims"), "claims")
        customers = tables.ingest_features(run, tables.prepare_table(run, checked, "customers"), "customers")
        published = tables.publish_features(run, claims=claims, customers=customers)
    with TaskGroup("dataset", tooltip="Training rows as known now, split by policy, explored and measured"):
        prepared = stages.prepare(run, tables.join_features(run, claims=claims, customers=customers))
        pictures, before = stages.explore(run, prepared), stages.bias(run, prepared)
        rows = stages.mitigate(run, prepared)
    model = stages.mitigate(run, rows, stages.train(run, rows, after=[before]))
    version = stages.register(run, model, bias=[before, stages.bias(run, rows, model)])
    served = stages.deploy(run, stages.approve(run, version))
    published >> served  # a deployment is proved by a policy's id, too
    stages.report(run, pictures, served)


auto_claims_fraud()
